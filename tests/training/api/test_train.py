"""Training from Python: the same as the command line, run folder and errors included."""

import os
import re
import signal
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import palaestra
from palaestra.training.cli.main import run as command
from palaestra.training.run.signals import STOPPING
from palaestra.training.settings.config import load_config
from palaestra.within import in_keywords

SHORT = "--steps 128 --num-envs 2 --evaluate-episodes 2 --evaluate-every 64 --track none --agent.rollout-length 16"


def values(folder):
    """Everything in a run's last checkpoint, and its metrics without times."""
    last = sorted((Path(folder) / "checkpoints").iterdir())[-1]
    rows = [
        {name: value for name, value in row.items() if not name.startswith("time/")}
        for row in palaestra.load(folder).metrics
    ]
    tensors = load_file(last / "tensors.safetensors")
    return {name: (tensor.dtype, tensor.tobytes()) for name, tensor in tensors.items()}, rows


def test_a_run_from_python_is_the_run_of_the_command_line(train, tmp_path):
    from_python = train(
        env="CartPole-v1",
        seed=np.int64(3),
        out=tmp_path / "python",
        memory="gru",
        memory_options={"hidden": 8},
        encoder_options={"hidden": (8,)},
        env_kwargs={"max_episode_steps": 20},
        env_options={"on_error": "restart"},
        agent_options={"rollout_length": 16, "gamma": 0.9},
    )
    words = f"train ppo --env CartPole-v1 --seed 3 --memory gru --memory.hidden 8 --encoder.hidden 8 {SHORT}"
    words += (
        f" --env-kwargs max_episode_steps=20 --env.on-error restart --agent.gamma 0.9 --out {tmp_path}/line"
    )
    assert command(words.split()) == 0
    assert load_config(tmp_path / "python") == load_config(tmp_path / "line")
    assert values(tmp_path / "python") == values(tmp_path / "line")
    names = {path.name for path in (tmp_path / "line").iterdir()}
    assert {path.name for path in from_python.folder.iterdir()} == names
    # And each goes on with the other's.
    assert command(f"train --resume {tmp_path}/python --steps 192".split()) == 0
    assert palaestra.load(tmp_path / "line").resume(steps=192, progress=False).steps == 192
    assert values(tmp_path / "python") == values(tmp_path / "line")


NOT_WHOLE = "must be a whole number"


WRONG_KEYWORDS = [
    (lambda run: run.resume(steps=300.5), f"steps: {NOT_WHOLE}, got 300.5"),
    (lambda run: run.resume(steps=0), "steps: must be > 0, got 0"),
    (lambda run: run.resume(threads="many"), f"threads: {NOT_WHOLE}, got 'many'"),
    (lambda run: run.resume(device="gpu"), "device: must be 'auto', 'cpu' or 'cuda', got 'gpu'"),
    (lambda run: run.evaluate(episodes=2.5), f"episodes: {NOT_WHOLE}, got 2.5"),
    (
        lambda run: run.evaluate(1, device="gpu"),
        "device: must be 'auto', 'cpu' or 'cuda', got 'gpu'",
    ),
    (lambda run: run.evaluate(1, seed=-1), "seed: must be >= 0, got -1"),
    (lambda run: palaestra.compare(run, episodes=0), "episodes: must be > 0, got 0"),
    (lambda run: palaestra.compare(run, workers=-1), "workers: must be >= 0, got -1"),
    (lambda run: palaestra.compare(run, seeds=2), "seeds: must be a list, got 2"),
    (lambda run: palaestra.load_world_model("m", device="gpu"), "device 'gpu' is unknown"),
]


def test_a_wrong_keyword_is_one_line_and_changes_nothing(train):
    run = train()
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    for call, line in WRONG_KEYWORDS:
        with pytest.raises(palaestra.UsageError, match=re.escape(line)):
            call(run)
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before


def test_numbers_may_be_numpys_and_counts_text(train):
    run = train()
    assert run.resume(steps=np.int64(160), progress=False).steps == 160
    assert run.resume(steps="0.192k", progress=False).config["steps"] == 192
    assert run.evaluate("2", seed=np.int64(7), device="cpu", progress=False)["episodes"] == 2
    assert palaestra.compare(run, episodes=np.int64(2), out="alone", progress=False).report.is_file()
    envs = palaestra.make_envs("CartPole-v1", 1, wrappers="gymnasium.wrappers:FlattenObservation")
    envs.close()


def test_a_run_knows_its_numbers(train):
    run = train(seed=1)
    assert run.folder == Path.cwd() / "runs" / "palaestra_Corridor-v0" / "ppo-seed1"
    assert run.steps == 128 and run.finished and run.config["seed"] == 1
    assert run.evaluations["step"].tolist() == [64, 128]
    steps, returns = run.metrics.curve("eval/return")
    assert steps.tolist() == [64, 128] and returns.tolist() == run.evaluations["return_mean"].tolist()
    report = run.evaluate(episodes=3, progress=False)
    assert report["episodes"] == 3 and report["steps_trained"] == 128
    action, state = run.policy.predict(run.policy.observation_space.sample(), deterministic=True)
    assert run.policy.action_space.contains(action) and state.shape[0] == 1
    before = run.policy
    assert run.policy is before and run.resume(steps=160, progress=False) is run
    assert run.steps == 160 and run.policy is not before
    assert re.match(r"Run\(ppo on palaestra/Corridor-v0, seed 1, 160 steps, return \S+, /", repr(run))


def test_later_layers_win(train, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "agent: {gamma: 0.9, gae_lambda: 0.8, rollout_length: 16}\nnum_envs: 4\n"
    )
    run = train(env="CartPole-v1", config=tmp_path / "mine.yaml", agent_options={"gamma": 0.7}, num_envs=None)
    agent = run.config["agent"]
    assert (agent["gamma"], agent["gae_lambda"], run.config["num_envs"]) == (0.7, 0.8, 4)
    assert agent["epochs"] == load_preset()["agent"]["epochs"]
    again = train(config={"agent.gamma": 0.9, "encoder": {"hidden": [8]}}, steps="0.1k")
    assert again.config["agent"]["gamma"] == 0.9 and again.config["encoder"]["hidden"] == [8]
    assert again.config["steps"] == 100
    whole = train(config=run.folder / "config.yaml", env=None, num_envs=None, agent_options=None, out="whole")
    assert values(whole.folder)[0] == values(run.folder)[0]
    td3 = train("ddpg", "Pendulum-v1", config="td3", agent_options={"learning_starts": 50})
    assert td3.config["agent"]["policy_delay"] == 2


def load_preset():
    from palaestra.training.settings.presets import find_preset

    return find_preset("ppo", "CartPole-v1")


# What is asked for, in both ways.
WRONG = [
    ("train ppoo --env CartPole-v1", {"agent": "ppoo"}),
    ("train ppo --env CartPol-v1", {"env": "CartPol-v1"}),
    ("train ppo --env CartPole-v1 --agent.gamma 1.5", {"agent_options": {"gamma": 1.5}}),
    ("train ppo --env CartPole-v1 --num-envs 0", {"num_envs": 0}),
    ("train ppo --env CartPole-v1 --encoder mpl", {"encoder": "mpl"}),
    ("train ppo --env CartPole-v1 --encoder cnn", {"encoder": "cnn"}),
    (
        "train ppo --env CartPole-v1 --memory transformer --memory.heads 5",
        {"memory": "transformer", "memory_options": {"heads": 5}},
    ),
    ("train ppo --env CartPole-v1 --env-kwargs size=3", {"env_kwargs": {"size": 3}}),
    ("train ppo --env CartPole-v1 --steps 10", {"steps": 10}),
    ("train ddpg --env CartPole-v1", {"agent": "ddpg"}),
    ("train dqn --env CartPole-v1 --config rainbw", {"agent": "dqn", "config": "rainbw"}),
    ("train ppo --env CartPole-v1 --device cuda", {"device": "cuda"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "keywords"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_errors_are_those_of_the_command_line(words, keywords, capsys):
    if torch.cuda.is_available() and "cuda" in words:
        pytest.skip("cuda is there")
    assert command(words.split()) == 2
    printed = capsys.readouterr().err.splitlines()[-1].removeprefix("error: ")
    with pytest.raises(palaestra.UsageError) as caught:
        palaestra.train(**({"agent": "ppo", "env": "CartPole-v1", "progress": False} | keywords))
    assert str(caught.value) == in_keywords(printed) and "\n" not in printed
    assert not Path("runs").exists()


def test_notes_name_keywords(train, capsys):
    """On the command line it is `--evaluate-max-steps`."""
    train(evaluate_max_steps=3, progress=True)
    assert "3 steps; evaluate_max_steps N allows more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keywords", "line"),
    [
        ({"num_env": 3}, "train: unknown keyword 'num_env'; did you mean 'num_envs'?"),
        ({"agent_options": {"gama": 1}}, "agent_options.gama: unknown key; did you mean 'agent_options.gamma'?"),
        ({"agent_options": 3}, "agent_options: expected a mapping, got 3"),
        ({"memory_options": {"name": "gru"}}, "memory_options.name: unknown key; give memory='gru'"),
        ({"steps": "many"}, "steps: must be a whole number, got 'many'"),
        ({"steps": True}, "steps: must be a whole number, got True"),
        ({"env": None}, "which environment? give env, for example env='CartPole-v1'"),
        ({"env": 3}, "env: must be an id, a class, a function or an environment object, got int"),
        ({"env": dict}, "env: dict is no subclass of gymnasium.Env"),
        ({"agent": 3}, "agent: must be a name or a class, got int"),
        ({"encoder": "mlp", "agent": "sb3/ppo"}, "encoder: sb3/ppo does not take it"),
        ({"track": "wandbb"}, "track: must be 'auto', 'wandb', 'tensorboard' or 'none', got 'wandbb'"),
        (
            {"env_kwargs": {"size": print}},
            "env_kwargs: builtin_function_or_method cannot be written to a file; give a function that makes the "
            "environment instead: env=lambda: MyEnv(...)",
        ),
    ],
)  # fmt: skip
def test_what_only_python_can_get_wrong(keywords, line):
    if keywords.get("agent") == "sb3/ppo":
        pytest.importorskip("stable_baselines3")
    with pytest.raises(palaestra.UsageError) as caught:
        palaestra.train(**({"agent": "ppo", "env": "CartPole-v1"} | keywords))
    assert str(caught.value) == line


def test_options_are_named_as_python_names_them():
    for line, expected in (
        ("--agent.clip-range 2: no, or --steps 3", "agent_options.clip_range 2: no, or steps 3"),
        ("--env.on-error restart", "env_options.on_error restart"),
        ("x; did you mean 'agent.gamma'?", "x; did you mean 'agent_options.gamma'?"),
        (
            "lower --steps: palaestra train --resume a --steps 3",
            "lower steps: palaestra train --resume a --steps 3",
        ),
        ("mine.yaml: a-b--c", "mine.yaml: a-b--c"),
    ):
        assert in_keywords(line) == expected


def test_nothing_is_overwritten(train):
    run = train(out="here")
    with pytest.raises(palaestra.UsageError, match="is not empty"):
        train(out="here")
    assert train().folder != train().folder and run.steps == 128


def test_a_baseline_and_a_class_of_stable_baselines3():
    sb3 = pytest.importorskip("stable_baselines3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        named = palaestra.train(
            "sb3/ppo", "CartPole-v1", steps=128, num_envs=2, track="none", evaluate_episodes=1, progress=False,
            agent_options={"n_steps": 32, "batch_size": 32},
        )  # fmt: skip
        given = palaestra.train(
            sb3.PPO, "CartPole-v1", steps=128, num_envs=2, track="none", evaluate_episodes=1, progress=False,
            agent_options={"n_steps": 32, "batch_size": 32},
        )  # fmt: skip
    assert given.config["agent"]["name"] == named.config["agent"]["name"] == "sb3/ppo"
    assert given.evaluate(2, progress=False) == named.evaluate(2, progress=False)


def test_a_silent_run_says_nothing_and_a_loud_one_shows_how_far_it_is(train, capfd):
    run = train(env="CartPole-v1")
    run.evaluate(2, progress=False)
    run.resume(steps=192, progress=False)
    assert capfd.readouterr() == ("", "")
    train(progress=True)
    out, err = capfd.readouterr()
    assert not out and "step 128/128" in err


class Kernel:
    """A stream as Jupyter's kernel has it."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return False


Kernel.__module__ = "ipykernel.iostream"


def test_a_notebook_shows_a_bar(train, monkeypatch):
    stream = Kernel()
    monkeypatch.setattr(sys, "stderr", stream)
    train(progress=True)
    assert "\r100%|" in stream.text and "128/128" in stream.text


def interrupted_by(number, train, monkeypatch, **options):
    """Train, and let a signal come in the middle."""
    from palaestra.training.run import session

    evaluate = session.Session.evaluate

    def interrupting(self, actor):
        if self.clock.step < 128:
            os.kill(os.getpid(), number)
        return evaluate(self, actor)

    monkeypatch.setattr(session.Session, "evaluate", interrupting)
    try:
        return train(**options)
    finally:
        monkeypatch.undo()


def test_an_interrupt_leaves_a_checkpoint_and_says_how_to_go_on(train, monkeypatch, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted_by(signal.SIGINT, train, monkeypatch, out=tmp_path / "stopped")
    assert isinstance(caught.value, palaestra.RunInterrupted)
    assert str(caught.value) == (
        "stopped at step 64; a checkpoint was saved; go on with: "
        f"palaestra.load('{tmp_path / 'stopped'}').resume()"
    )
    assert signal.getsignal(signal.SIGINT) is before
    assert caught.value.run.steps == 64
    caught.value.run.resume(progress=False)
    whole = train(out=tmp_path / "whole")
    assert values(tmp_path / "stopped") == values(whole.folder)


def test_another_signal_does_afterwards_what_the_program_wants(train, monkeypatch):
    seen = []
    monkeypatch.setattr(signal, "raise_signal", seen.append)
    with pytest.raises(palaestra.RunInterrupted):
        interrupted_by(signal.SIGTERM, train, monkeypatch)
    assert seen == [signal.SIGTERM]


def state_of_the_program():
    """What is one for a whole process, and should be after a run what it was before."""
    import matplotlib

    return (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        list(warnings.filters),
        [signal.getsignal(number) for number in STOPPING],
        matplotlib.rcParams["backend"] if "matplotlib.pyplot" in sys.modules else None,
        Path.cwd(),
        np.random.get_state()[1].tolist(),
        torch.random.get_rng_state().tolist(),
        threading.active_count(),
    )


def test_the_program_stays_as_it_is(train, count_env):
    before = state_of_the_program()
    run = train(threads=2)
    assert state_of_the_program() == before
    run.evaluate(2, progress=False)
    assert run.policy is not None and state_of_the_program() == before
    with pytest.raises(palaestra.UsageError):
        train(env="CartPol-v1")
    train(env=count_env, backend="async")
    assert state_of_the_program() == before


def test_runs_in_threads_and_one_after_another_come_to_the_same(train):
    alone = [train(seed=seed, threads=seed + 1, out=f"alone{seed}") for seed in (0, 1)]
    again = [train(seed=seed, threads=seed + 1, out=f"again{seed}") for seed in (1, 0)][::-1]
    together = {}

    def work(seed):
        together[seed] = train(seed=seed, threads=seed + 1, out=f"thread{seed}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
    before = state_of_the_program()[:-1]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state_of_the_program()[:-1] == before
    for seed in (0, 1):
        expected = values(alone[seed].folder)
        assert values(again[seed].folder) == expected and values(together[seed].folder) == expected
