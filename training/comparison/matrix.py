"""What every combination of agent, encoder and memory has reached, as a page: a table a task, a command a cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import gymnasium

from ..run.listing import EVALUATIONS_FILE, find_runs
from ..run.storage.folder import CYCLE_FILE
from ..settings.arguments import option_as_typed
from ..settings.config import (
    BLOCKS,
    TELLING,
    USUAL,
    RunConfig,
    load_plain_config,
    names_of,
    plain_config,
    to_dict,
)
from ..settings.default_encoder import default_encoder
from ..settings.layers import merge_options
from ..settings.presets import find_preset
from ..settings.providers import provider_of
from ..settings.train_options import assignment_words
from ..settings.typed import flat
from ..settings.usage import UsageError, typed_command
from ..tracking.progress import say
from ..tracking.return_text import return_text
from .references import reference_scores
from .suites import is_left_open

# What is no part of the command that makes a run: where it went, how it was watched and computed.
LEFT_OUT = TELLING | {"seed", "device", "compile", "threads"}
MEMORIES = ("none", "lstm", "gru", "transformer")


@dataclass(frozen=True)
class Cell:
    """Runs that differ in their seeds only."""

    task: str
    """Environment and its arguments."""
    env: str
    agent: str
    encoder: str
    memory: str
    steps: int
    command: str
    scores: dict[int, float]
    """Mean return of the evaluation at the end, by seed."""


def find_cells(folders: Iterable[Path]) -> list[Cell]:
    """Group the finished runs of our own agents in some folders, but those that alternate between world and dreams.

    Raises:
        UsageError: there are none.
    """
    cells: dict[str, Cell] = {}
    for info in (info for folder in folders for info in find_runs(folder)):
        config = load_plain_config(Path(info.path))
        if not info.finished or provider_of("agent", config.agent):
            continue
        if (Path(info.path) / CYCLE_FILE).exists():
            continue
        if info.damaged or info.return_mean is None:
            say(f"note: {info.path} is left out: {info.damaged or EVALUATIONS_FILE} is damaged or missing")
            continue
        command = typed_command(*command_of(config))
        if command not in cells:
            arguments = " ".join(assignment_words(dict(sorted(config.env_kwargs.items()))))
            frames = f"{config.frame_stack} frames" if config.frame_stack > 1 else ""
            memory = config.memory if config.memory != "none" or not frames else frames
            cells[command] = Cell(
                *(f"{config.env} {arguments}".strip(), config.env, config.agent, config.encoder, memory),
                *(config.steps, command, {}),
            )
        cells[command].scores[config.seed] = info.return_mean
    if not cells:
        raise UsageError("there are no finished runs; see palaestra runs")
    return list(cells.values())


def command_of(config: RunConfig) -> list[str]:
    """Return the words after `palaestra` that ask for a config, without its seed: what differs from the defaults."""
    preset = find_preset(config.agent, config.env)
    words = ["--env", config.env]
    usual = preset.get("env_kwargs") or {}
    given = {name: value for name, value in config.env_kwargs.items() if (name, value) not in usual.items()}
    if given:
        words += ["--env-kwargs", *assignment_words(given)]
    named = {"encoder": usual_encoder(config.env)} | USUAL | names_of(preset)
    for block in ("encoder", *USUAL):
        # Named where it is not what this environment gets anyway, for its options hang on it.
        if named.get(block) != getattr(config, block):
            words += [f"--{block}", getattr(config, block)]
    chosen: dict[str, str] = {block: getattr(config, block) for block in BLOCKS}
    defaults = plain_config(merge_options(preset, chosen, {"env": config.env}))
    asked, found = (flat(to_dict(each)) for each in (defaults, config))
    for name, value in found.items():
        if name.endswith(".name") or name in ("env", *LEFT_OUT) or name.partition(".")[0] == "env_kwargs":
            continue
        if asked.get(name) != value and not is_left_open(name, asked.get(name)):
            words += option_as_typed(name, value)
    return ["train", config.agent, *words]


def usual_encoder(env: str) -> str | None:
    """What an environment of ours or of Gymnasium itself gets where no encoder is named; None for all others.

    Looking at others would import and build what a run folder names.
    """
    return default_encoder(env, {}) if env in gymnasium.registry else None


def matrix_page(cells: list[Cell]) -> str:
    """Lay cells out in Markdown."""
    references = reference_scores()
    lines = [
        "# Which agent learns with which encoder and memory",
        "",
        "Written by `palaestra matrix` from finished runs. A cell is the mean return of the evaluation at the end of",
        "training, best actions, over the seeds whose number stands behind it. Below each table is the command of",
        "every cell, to which `--seed N` belongs.",
        "",
    ]
    for task in sorted({cell.task for cell in cells}):
        group = [cell for cell in cells if cell.task == task]
        lines += [f"## {task}", ""]
        if group[0].env in references:
            low, high = references[group[0].env]
            usual = "" if task == group[0].env else " in the environment without arguments"
            lines += [f"Random actions get {low:g}, a good agent {high:g}{usual}.", ""]
        lines += [*table(group), "", "```", *(cell.command for cell in ordered(group)), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def table(cells: list[Cell]) -> list[str]:
    """One task: a row for each agent with an encoder, a column for each memory."""
    memories = sorted({cell.memory for cell in cells}, key=memory_order)
    rows = dict.fromkeys((cell.agent, cell.encoder) for cell in ordered(cells))
    lines = [
        f"| agent | encoder | {' | '.join(memories)} |",
        f"| --- | --- |{' --- |' * len(memories)}",
    ]
    for agent, encoder in rows:
        found = [
            "<br>".join(cell_text(cell) for cell in cells if cell_key(cell) == (agent, encoder, memory))
            or "-"
            for memory in memories
        ]
        lines.append(f"| {agent} | {encoder} | {' | '.join(found)} |")
    return lines


def cell_text(cell: Cell) -> str:
    """Mean over seeds, how many they are, and after how many steps."""
    mean = sum(cell.scores.values()) / len(cell.scores)
    return f"{return_text(mean)} ({len(cell.scores)})"


def ordered(cells: list[Cell]) -> list[Cell]:
    """By agent, encoder and memory."""
    return sorted(cells, key=lambda cell: (cell.agent, cell.encoder, memory_order(cell.memory)))


def cell_key(cell: Cell) -> tuple[str, str, str]:
    """Row and column of a cell."""
    return cell.agent, cell.encoder, cell.memory


def memory_order(memory: str) -> tuple[int, str]:
    """None first, then frames, then memories."""
    return (MEMORIES.index(memory) * 2 if memory in MEMORIES else 1), memory
