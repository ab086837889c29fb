"""`palaestra envs survey`: every installed environment is checked and stepped; the table stands in the docs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from ...envs.checking.check import check_environment
from ...envs.listing import list_environments
from ...envs.make import EnvSpec, make_envs

STEPS = 200
COPIES = 2
SECONDS = 0.3
SEED = 7


class KnownFailure(NamedTuple):
    """Environments that cannot be stepped for a reason that lies in their own package."""

    beginning: str
    """Beginning of their ids."""
    message: str
    """Part of the message."""
    why: str


KNOWN_FAILURES = (
    KnownFailure(
        "MiniGrid-WFC-",
        "FileNotFoundError",
        "the wheel of minigrid lacks the pictures that these levels are made from; an installation from its "
        "repository has them",
    ),
    KnownFailure(
        "Pusher-v4", "only supported on", "Gymnasium makes it with MuJoCo 2 alone; v5 takes its place"
    ),
)


def known_failure(row: dict[str, Any]) -> str | None:
    """Why an environment of the survey cannot be stepped, where that is known."""
    return next(
        (k.why for k in KNOWN_FAILURES if row["id"].startswith(k.beginning) and k.message in row["failed"]),
        None,
    )


def unexplained(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of environments that cannot be stepped for no known reason."""
    return [row for row in rows if row["failed"] and known_failure(row) is None]


def survey(patterns: Iterable[str], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Check every installed environment whose id fits one of the patterns, and take random steps through `make_envs`.

    Returns:
        A row an environment: `id`, `family`, `errors`, `warnings`, `steps` taken, `episodes` ended, and what
        `failed`, if anything did.
    """
    rows = []
    listings = {listing.id: listing for pattern in patterns for listing in list_environments(pattern)}
    for listing in listings.values():
        if not listing.installed:
            continue
        row: dict[str, Any] = {"id": listing.id, "family": listing.family, "failed": ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = check_environment(listing.id, processes=False, seconds=SECONDS)
            row |= {"errors": report.errors, "warnings": report.warnings}
            try:
                row["steps"], row["episodes"] = random_steps(listing.id)
            except Exception as error:
                row |= {"steps": 0, "episodes": 0, "failed": str(error).partition("\n")[0]}
        say(f"{listing.id}: {row['failed'] or 'ok'}")
        rows.append(row)
    return rows


def random_steps(env: str) -> tuple[int, int]:
    """Take `STEPS` vector steps; returns steps taken and episodes that ended."""
    envs = make_envs(EnvSpec(env, COPIES, seed=SEED))
    episodes = 0
    try:
        envs.reset()
        envs.action_space.seed(SEED)
        for _ in range(STEPS):
            actions = [envs.action_space.sample() for _ in range(COPIES)]
            step = envs.step(
                tuple(zip(*actions, strict=True)) if isinstance(actions[0], tuple) else np.array(actions)
            )
            episodes += len(step.episodes)
    finally:
        envs.close()
    return STEPS * COPIES, episodes


def format_survey(rows: list[dict[str, Any]]) -> str:
    """A page for the docs: numbers by family, and every environment of which there is something to say."""
    families = sorted({row["family"] for row in rows})
    stepped = sum(not row["failed"] for row in rows)
    unexplained = sum(bool(row["failed"]) and known_failure(row) is None for row in rows)
    lines = [
        "# Every installed environment, checked and stepped",
        "",
        "Written by `palaestra envs survey --out docs/survey-installed.md`, which runs `envs check` and takes",
        f"{STEPS} random steps of {COPIES} copies through `make_envs` (Gymnasium {version('gymnasium')}).",
        f"{stepped} of {len(rows)} environments were stepped; {unexplained} failed without a known reason.",
        "",
        "| family | environments | stepped | sound | with warnings |",
        "|---|---|---|---|---|",
    ]
    for family in families:
        found = [row for row in rows if row["family"] == family]
        numbers = (
            len(found),
            sum(not row["failed"] for row in found),
            sum(not row["errors"] for row in found),
            sum(bool(row["warnings"]) for row in found),
        )
        lines.append(f"| {family} | {' | '.join(map(str, numbers))} |")
    known: dict[str, list[str]] = {}
    for row in rows:
        if row["failed"] and (why := known_failure(row)):
            known.setdefault(why, []).append(row["id"])
    if known:
        lines += ["", "## Known failures", ""]
        lines += [f"- {', '.join(ids)}: {why}." for why, ids in known.items()]
    lines += ["", "## What there is to say", "", "| finding | environments |", "|---|---|"]
    by_finding: dict[str, list[str]] = {}
    for row in rows:
        if row["failed"] and known_failure(row):
            continue
        kinds = [("failed", [row["failed"]] if row["failed"] else []), ("error", row["errors"])]
        for kind, findings in [*kinds, ("warning", row["warnings"])]:
            for finding in findings:
                # Where packages lie differs from machine to machine.
                text = re.sub(r"/\S*/", "", finding.replace(row["id"], "ID")).replace("|", "/")
                by_finding.setdefault(f"{kind}: {text}", []).append(row["id"])
    for finding, ids in sorted(by_finding.items()):
        first_ids = ", ".join(ids[:4]) + (f" and {len(ids) - 4} more" if len(ids) > 4 else "")
        lines.append(f"| {finding} | {len(ids)}: {first_ids} |")
    return "\n".join(lines) + "\n"
