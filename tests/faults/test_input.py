"""Malformed input, drawn by Hypothesis: one line on stderr and exit code 2, and nothing is left behind."""

import pytest

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from palaestra.training.cli.main import run

WORDS = st.sampled_from(
    [
        "train",
        "evaluate",
        "runs",
        "compare",
        "sweep",
        "bench",
        "envs",
        "world-model",
        "doctor",
        "matrix",
        "ppo",
        "dqn",
        "ddpg",
        "pqn",
        "reinforce",
        "sb3/ppo",
        "CartPole-v1",
        "Pendulum-v1",
        "no-such-env",
        "--env",
        "--steps",
        "--seed",
        "--num-envs",
        "--agent.gamma",
        "--agent.learning-rate",
        "--memory",
        "--encoder",
        "lstm",
        "cnn",
        "--resume",
        "--config",
        "--out",
        "--track",
        "--device",
        "--backend",
        "--env-kwargs",
        "a=1",
        "--agent.batch-size",
        "--frame-stack",
        "--env.wrappers",
        "gymnasium.wrappers:TimeLimit",
        "--episodes",
        "--json",
        "-h",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        ["-1", "0", "1e400", "nan", "inf", "-inf", "true", "None", "[]", "{}", "1e-3", "''", "a:b:c"]
    ),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
)
# Each is refused before anything is trained.
OPTIONS = st.sampled_from(
    [
        "--steps",
        "--seed",
        "--num-envs",
        "--agent.gamma",
        "--agent.gae-lambda",
        "--agent.rollout-length",
        "--agent.batch-size",
        "--agent.epochs",
        "--agent.clip-range",
        "--agent.learning-rate",
        "--frame-stack",
        "--evaluate-every",
        "--log-every",
        "--device",
        "--compile",
        "--backend",
        "--memory",
        "--encoder",
        "--track",
        "--env-kwargs",
        "--env.on-error",
        "--env.timeout",
    ]
)


def refused(words, capsys, folder):
    """Run a command that cannot be meant; whatever it is, it ends in order."""
    code = run(words)
    output = capsys.readouterr()
    assert code in (0, 2), (words, output.err)
    assert "Traceback" not in output.err, words
    if code == 2:
        assert len([line for line in output.err.strip().splitlines() if line.startswith("error")]) <= 1
    return code


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=st.lists(st.one_of(WORDS, VALUES), min_size=1, max_size=6))
def test_words_in_any_order(words, capsys, tmp_path_factory, monkeypatch, tried):
    folder = tmp_path_factory.mktemp("input")
    monkeypatch.chdir(folder)
    tried("malformed input")
    # A whole training run is no malformed input: it needs an agent and an environment.
    if words[0] in ("train", "bench", "compare", "sweep", "envs") and not {"-h", "no-such-env"} & set(words):
        words = [*words, "--no-such-option"]
    try:
        refused(words, capsys, folder)
    except SystemExit as stop:  # help
        assert stop.code in (0, None)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(option=OPTIONS, value=VALUES, agent=st.sampled_from(["ppo", "dqn", "ddpg", "reinforce", "pqn"]))
@example(option="--agent.gamma", value="2", agent="ppo")
def test_values_of_any_kind(option, value, agent, capsys, tmp_path_factory, monkeypatch, tried):
    folder = tmp_path_factory.mktemp("input")
    monkeypatch.chdir(folder)
    tried("malformed input")
    # The folder of the run makes sure that nothing is trained where the value is right.
    (folder / "taken").mkdir()
    (folder / "taken" / "file").touch()
    words = ["train", agent, "--env", "CartPole-v1", option, value, "--out", "taken"]
    assert refused(words, capsys, folder) == 2
    assert [path.name for path in folder.iterdir()] == ["taken"]
