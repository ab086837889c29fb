"""Begin a run with the networks of another one, as far as they fit."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ...agents.agent import Agent
from ...agents.transfer import Taken, take_parts
from ...envs.make import make_envs
from ...envs.vector import Envs
from ..settings.config import CONFIG_FILE, RunConfig, load_config
from ..settings.usage import UsageError, as_usage_errors, typed_command
from .build import build_agent, choose_device, set_threads, training_spec
from .clocks import Clock, Meter
from .loaded import load_run
from .loop import AgentLoop, loop_of, make_steps
from .storage.checkpoint import give_identity, save_checkpoint
from .storage.folder import MODEL_CONFIG_FILE


def initialized(config: RunConfig, envs: Envs) -> tuple[Agent, Taken]:
    """Return the new agent of a run with --init-from, with the parts that were taken, and which these are.

    Raises:
        UsageError: the other folder is no run of an agent of ours, it names what the user does not trust, or nothing of
            it fits.
    """
    other = Path(config.init_from)
    if not (other / CONFIG_FILE).exists() and (other / MODEL_CONFIG_FILE).exists():
        raise UsageError(f"--init-from {other}: it is a world model; use --encoder world-model:{other}")
    kept = load_config(other)
    if loop_of(kept) is not AgentLoop:
        raise UsageError(
            f"--init-from {other}: the networks of {kept.agent} are not built like ours, so nothing of them fits; "
            f"clone it instead: {typed_command('record', other, '--episodes', 20, '--out', 'DIR')}"
        )
    source = load_run(other, device=choose_device(config.device).type)
    set_threads(config.threads)
    agent = build_agent(config, envs.observation_space, envs.action_space)
    assert isinstance(source.agent, Agent)
    taken = take_parts(agent.parts(), source.agent.parts())
    if not taken.taken:
        # Of what stands on a torso that does not fit nothing need be said.
        torsos = {name: why for name, why in taken.refused.items() if "torso." in name}
        reasons = "; ".join(f"{name}: {why}" for name, why in (torsos or taken.refused).items())
        raise UsageError(f"--init-from {other}: nothing of {kept.agent} on {kept.env} fits ({reasons})")
    return agent, taken


def describe_taken(config: RunConfig, taken: Taken) -> str:
    """A line for each part that a run takes from another one, and for each that it does not."""
    lines = [f"note: from {config.init_from}:"]
    for name, origin in taken.taken.items():
        lines.append(f"  taken      {name}" + (f" from {origin}" if origin != name else ""))
    return "\n".join([*lines, *(f"  not taken  {name}: {why}" for name, why in taken.refused.items())])


def begin_from_other(run_dir: Path, config: RunConfig) -> Path | None:
    """Leave the checkpoint of step 0 that a run with --init-from begins from; it needs the other no more."""
    if not config.init_from:
        return None
    with as_usage_errors(), closing(make_envs(training_spec(config))) as envs:
        agent, _ = initialized(config, envs)
        give_identity(run_dir)
        return save_checkpoint(run_dir, 0, make_steps(config, agent, envs, Meter(), Clock())[1])
