"""A folder to give away: what a run has learned, how good it is, a film, a curve and a model card.

The folder is a run folder itself, so that whatever reads one reads it: `palaestra evaluate`, `palaestra watch`,
`palaestra.load_policy`. It holds no pickles, and of the machine that it was made on no more than what the run's own
options name.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from ...agents.agent import Agent, StepStore
from ..export.export import export_run
from ..imagination.dyna_options import CycleConfig, load_cycle
from ..run.build import build_agent, evaluation_spec
from ..run.evaluate import Evaluation, evaluate
from ..run.listing import SHARED_FILE, SUMMARY_FILE
from ..run.loaded import LoadedRun, load_run
from ..run.loop import AgentLoop, loop_of
from ..run.storage.checkpoint import save_checkpoint
from ..run.storage.folder import CYCLE_FILE, check_links, new_folder
from ..run.storage.packing import Part
from ..run.video import check_video, film_run
from ..settings.config import RunConfig, load_config, save_config
from ..settings.providers import provider_of
from ..settings.usage import RunFailedError, UsageError
from ..tracking.evaluations_file import EVALUATIONS_FILE
from ..tracking.metrics_file import METRICS_FILE
from ..tracking.plots import plot_learning_curve
from ..tracking.progress import say
from ..tracking.provenance import versions
from .card import Card, model_card

CARD_FILE = "README.md"


def share_run(run_dir: Path, out: Path, episodes: int, video: bool = True, export: bool = True) -> Path:
    """Make a folder to give away of what a run has learned; returns its model card.

    Args:
        run_dir: folder of the run.
        out: folder to make; it must be new or empty.
        episodes: full episodes that say how good it is.
        video: whether one more episode is filmed, where the environment can be drawn.
        export: whether the policy is exported as ONNX, where it can be.

    Raises:
        UsageError: it is no run, it needs a folder that is not part of it, or something lies at `out` already.
    """
    check_links(run_dir)
    kept = load_config(run_dir)
    run = load_run(run_dir, kept)
    check_complete(run_dir, kept)
    with new_folder(out):
        spec = evaluation_spec(run.config)
        say(f"playing {episodes} episodes")
        evaluation = evaluate(run.agent, spec, episodes)
        save_config(out, to_share(kept))
        copy_learned(run_dir, out, run)
        for name in (METRICS_FILE, EVALUATIONS_FILE, SUMMARY_FILE, CYCLE_FILE):
            if (run_dir / name).is_file():
                shutil.copyfile(run_dir / name, out / name)
        plot_learning_curve(out)
        film = film_of(run, out) if video else None
        policy = export_of(run_dir, out) if export else None
        results = evaluation.to_dict() | {"seed": spec.seed, "steps_trained": run.step}
        (out / SHARED_FILE).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        return write_card(out, run, load_cycle(run_dir), evaluation, spec.seed, film, policy)


def to_share(config: RunConfig) -> RunConfig:
    """A run's config as it was asked for, without what only its maker has."""
    dream = config.dream
    if dream.model is not None:  # by its name: nobody else has the folder
        dream = replace(dream, model=Path(dream.model).name)
    return replace(config, dream=dream, project="", entity="", group="", notes="")


def check_complete(run_dir: Path, config: RunConfig) -> None:
    """Raise `UsageError` where what was learned acts through files that do not lie in the run's folder."""
    model = config.show_model_memory or config.encoder.partition(":")[2]
    if model and (config.show_model_memory or provider_of("encoder", config.encoder)):
        raise UsageError(
            f"{run_dir} acts through the world model in {model}, which a shared folder does not hold"
        )


def copy_learned(run_dir: Path, out: Path, run: LoadedRun) -> None:
    """Put what was learned into `out`; of our own agents without the steps that they keep to learn from."""
    loop = loop_of(run.config)
    if loop is not AgentLoop:
        loop.hand_over(run_dir, run.agent, run.step, out)
        return
    assert isinstance(run.agent, Agent)
    # A replay memory may take gigabytes, and nobody acts by it: in its place stands an empty one.
    fresh = build_agent(replace(run.config, compile="off"), run.observation_space, run.action_space).parts()
    parts: dict[str, Part] = {
        f"agent.{name}": fresh[name] if isinstance(part, StepStore) else part
        for name, part in run.agent.parts().items()
    }
    save_checkpoint(out, run.step, parts)


def film_of(run: LoadedRun, out: Path) -> Path | None:
    """Film an episode; None, and a line that says why, where that cannot be done."""
    spec = evaluation_spec(run.config)
    try:
        check_video(spec)
        film = film_run(run.agent, run.step, spec, out)[0]
    except ValueError as error:
        say(f"note: no film: {error}")
        return None
    return film.rename(out / "replay.mp4")


def export_of(run_dir: Path, out: Path) -> Path | None:
    """Export the policy; None, and a line that says why, where that cannot be done."""
    path = out / "policy.onnx"
    try:
        export_run(run_dir, path)
    except (UsageError, RunFailedError) as error:
        say(f"note: no {path.name}: {error}")
        return None
    return path


def write_card(
    out: Path,
    run: LoadedRun,
    cycle: CycleConfig | None,
    evaluation: Evaluation,
    seed: int,
    film: Path | None,
    policy: Path | None,
) -> Path:
    """Write the model card."""
    card = Card(
        config=run.config,
        cycle=cycle,
        step=run.step,
        summary=evaluation.summary(),
        seed=seed,
        film=None if film is None else film.name,
        policy=None if policy is None else policy.name,
        versions=versions(),
    )
    path = out / CARD_FILE
    path.write_text(model_card(card), encoding="utf-8")
    return path
