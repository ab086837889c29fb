"""The page of what combinations have reached, and the command that asks for a config."""

import shlex

import pytest

from palaestra.training.cli import main as cli
from palaestra.training.comparison.matrix import command_of, find_cells
from palaestra.training.run.start import start_run
from palaestra.training.settings.config import to_dict
from palaestra.training.settings.train_options import read_train_options
from palaestra.training.settings.usage import UsageError


@pytest.mark.parametrize(
    "given",
    [
        "ppo --env CartPole-v1",
        "dqn --env CartPole-v1 --agent.no-layer-norm --agent.hidden 32 16 --num-envs 2 --steps 3000",
        "ppo --env palaestra/Recall-v0 --env-kwargs delay=8 --memory gru --memory.hidden 8",
        "ppo --env palaestra/Recall-v0 --memory none --frame-stack 4",
        "ddpg --env palaestra/Recall-v0 --env-kwargs delay=2 --env.on-error restart --agent.noise-std 0.2",
        "reinforce --env palaestra/Catch-v0 --encoder impala --encoder.channels 4 8",
        "ppo --env Pendulum-v1 --agent.max-grad-norm None --encoder.normalize",
        "ppo --env CartPole-v1 --env-kwargs a=null b='3' c=1e-05 d=[1,'2',x] e=true f=hard",
    ],
)
def test_the_command_of_a_config_asks_for_it(given):
    agent, *words = given.split()
    config, _ = read_train_options(agent, words)
    command, again, *options = command_of(config)
    assert (command, again) == ("train", agent)
    assert to_dict(read_train_options(agent, options)[0]) == to_dict(config)
    assert len(options) <= len(words)


def test_runs_that_differ_in_seeds_are_a_cell(tmp_path, capsys):
    short = (
        "--env palaestra/Recall-v0 --env-kwargs delay=1 --steps 200 --num-envs 2 --agent.rollout-length 16"
    )
    runs = {"a": "--seed 1", "b": "--seed 2", "c": "--memory none", "d": "--memory none --frame-stack 2"}
    for name, more in runs.items():
        words = [*shlex.split(short), *more.split(), "--track", "none", "--evaluate-episodes", "2"]
        start_run(read_train_options("ppo", words)[0], tmp_path / name)
    # One that has dreamt in between: another command makes it.
    start_run(read_train_options("ppo", [*shlex.split(short), "--track", "none"])[0], tmp_path / "dyna")
    (tmp_path / "dyna" / "cycle.yaml").touch()
    assert cli.run(["matrix", str(tmp_path), "--out", str(tmp_path / "page.md")]) == 0
    text = (tmp_path / "page.md").read_text()
    cells = {cell.memory: cell for cell in find_cells([tmp_path])}
    assert {memory: sorted(cell.scores) for memory, cell in cells.items()} == {
        "lstm": [1, 2],
        "none": [0],
        "2 frames": [0],
    }
    assert "## palaestra/Recall-v0 delay=1" in text and "| agent | encoder | none | 2 frames | lstm |" in text
    assert f"{sum(cells['lstm'].scores.values()) / 2:.2f} (2) |" in text
    assert "Random actions get 0.5, a good agent 1 in the environment without arguments." in text
    for cell in cells.values():
        assert cell.command in text and cell.command.startswith(
            "palaestra train ppo --env palaestra/Recall-v0"
        )
    with pytest.raises(UsageError, match="no finished runs"):
        find_cells([tmp_path / "a" / "checkpoints"])
