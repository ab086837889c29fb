"""Classes, functions and objects where the command line takes names."""

import functools
import threading
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import palaestra
from palaestra.passed import Passed, importable_name
from palaestra.training.cli.main import run as command
from palaestra.training.run.describe import describe_failure


def message(call):
    with pytest.raises(palaestra.UsageError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("form", "backend"),
    [
        *(("function", "sync"), ("partial", "sync"), ("object", "sync")),
        *(("class", "async"), ("wrapped object", "async")),
    ],
)
def test_an_environment_of_a_notebook_trains_with_every_backend(form, backend, train, count_env):
    env = {
        "class": count_env,
        "function": lambda: count_env(),
        "partial": functools.partial(count_env, 5),
        "object": count_env(),
        "wrapped object": gymnasium.wrappers.TimeLimit(count_env(9), 5),
    }[form]
    run = train(env=env, backend=backend, evaluate_every=1000, env_options={"workers": 1})
    name = "lambda" if form == "function" else "Count"
    assert run.config["env"] == f"from-python:{name}" and run.folder.parent.name == name
    assert set(run.metrics.curve("episode/length")[1]) == {5}
    again = palaestra.load(run.folder, env=env)
    assert again.resume(steps=160, progress=False).steps == 160
    assert again.policy.predict(np.zeros(1, np.float32))[0] in (0, 1)


def test_it_resumes_bit_for_bit(train, count_env):
    """The environment passed again stands for the first one, whatever it is called."""
    from .test_train import values

    whole = train(
        env=count_env, steps=192, out="whole", evaluate_every=1000, checkpoint_every=64, log_every=8
    )
    train(env=count_env, out="parts", evaluate_every=1000, checkpoint_every=64, log_every=8)
    with pytest.raises(palaestra.UsageError, match="was an object in a Python program"):
        palaestra.load("parts").resume(steps=192)
    palaestra.load("parts", env=lambda: count_env()).resume(steps=192, progress=False)
    assert values("parts")[0] == values(whole.folder)[0]


def test_arguments_reach_classes_and_functions(train, count_env):
    run = train(env=count_env, env_kwargs={"length": 3})
    assert run.evaluate(2, progress=False)["length_mean"] == 3
    run = train(env=lambda length: count_env(length), env_kwargs={"length": 3, "max_episode_steps": 2})
    assert run.evaluate(2, progress=False)["length_mean"] == 2
    assert "takes no argument 'lenght'; did you mean 'length'?" in message(
        lambda: train(env=count_env, env_kwargs={"lenght": 3})
    )
    assert "takes no arguments, got length" in message(
        lambda: train(env=count_env(), env_kwargs={"length": 3})
    )


def test_two_classes_of_one_name_are_kept_apart(train, count_env):
    """A notebook's cell is edited and run again."""

    class Pictures(count_env):
        observation_space = gymnasium.spaces.Box(0, 255, (40, 40, 3), np.uint8)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.observation_space.low.copy(), {}

        def step(self, action):
            return self.observation_space.low.copy(), *super().step(action)[1:]

    Pictures.__name__ = "Count"
    few = {"rollout_length": 16, "epochs": 1}
    first, second = train(env=count_env), train(env=Pictures, agent_options=few, threads=1)
    assert first.config["encoder"]["name"] == "mlp" and second.config["encoder"]["name"] == "cnn"
    assert first.evaluate(1, progress=False)["length_mean"] == 5


def test_the_object_itself_is_never_stepped(train, count_env):
    env = count_env()
    env.reset(seed=0)
    env.step(1)
    train(env=env)
    assert env.time == 1


def test_an_objects_id_chooses_the_preset(train):
    run = train(env=gymnasium.make("CartPole-v1"))
    assert run.config["env"] == "from-python:CartPoleEnv" and run.config["agent"]["gae_lambda"] == 0.9


def test_objects_that_cannot_be_used_are_refused_in_one_line(train, count_env):
    env = count_env()
    env.lock = threading.Lock()
    assert message(lambda: train(env=env)) == (
        "env: no copies can be made of this Count object (TypeError: cannot pickle '_thread.lock' object); give its "
        "id, its class or a function that makes it"
    )
    lock = threading.Lock()

    def locking():
        with lock:
            return count_env()

    assert "cannot be sent to worker processes (TypeError: cannot pickle" in message(
        lambda: train(env=locking, backend="async")
    )
    assert train(env=locking).finished
    assert "open a window for every copy" in message(
        lambda: train(env=gymnasium.make("CartPole-v1", render_mode="human"))
    )
    assert "num_envs copies are made" in message(lambda: train(env=gymnasium.make_vec("CartPole-v1", 2)))
    assert "cannot be drawn" in message(lambda: train(env=gymnasium.make("CartPole-v1"), video=True))


def test_the_command_line_refuses_what_only_python_can_make(train, count_env, capsys):
    train(env=count_env, out="mine")
    for words in ("evaluate mine", "train --resume mine", "compare mine", "evaluate mine --trust"):
        assert command(words.split()) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        assert "environment 'Count' was an object in a Python program" in error and "env=Count)" in error
    assert command(["runs", "."]) == 0
    assert "from-python:Count" in capsys.readouterr().out
    # What does not need it works without.
    assert palaestra.load("mine").evaluations["step"].tolist() == [64, 128]


def test_a_failing_environment_says_how_to_go_on_in_python(train, count_env, tmp_path):
    class Broken(count_env):
        def step(self, action):
            if self.np_random.random() < 0.02:
                raise RuntimeError("sensor lost")
            return super().step(action)

    with pytest.raises(palaestra.EnvironmentFailedError, match="sensor lost") as caught:
        train(env=Broken, steps=10_000, out="broken")
    assert isinstance(caught.value.__cause__, RuntimeError)

    (note,) = caught.value.__notes__
    assert note.endswith(f"palaestra.load({str(tmp_path / 'broken')!r}, env=Broken).resume()")
    text = describe_failure(Path("broken"), caught.value)
    assert "palaestra.load('broken', env=Broken).resume()" in text


def test_what_was_passed_is_what_must_be_passed_again(train, count_env):
    run = train(env="CartPole-v1")
    assert message(lambda: palaestra.load(run.folder, env=count_env)) == (
        "env: the run was made with 'CartPole-v1', not with 'from-python:Count'"
    )
    assert palaestra.load(run.folder, env="CartPole-v1", agent="ppo").evaluate(1, progress=False)
    assert "is not a run" in message(lambda: palaestra.load("nowhere"))


def test_a_class_of_an_importable_module_is_named_as_on_the_command_line(train):
    from palaestra.agents.dqn import DQN
    from palaestra.envs.tasks.corridor import Corridor
    from palaestra.networks.memories.gru import GRU

    passed = Passed()
    assert passed.env(Corridor) == "palaestra.envs.tasks.corridor:Corridor"
    assert passed.component("agent", DQN) == "dqn" and passed.component("memory", GRU) == "gru"
    assert importable_name(gymnasium.make) == "gymnasium.envs.registration:make"
    run = train(env=Corridor, env_kwargs={"max_episode_steps": 20})
    assert palaestra.load(run.folder).evaluate(1, progress=False)["episodes"] == 1


def test_an_agent_and_an_encoder_of_a_notebook(train):
    from palaestra.agents.ppo import PPO, PPOConfig
    from palaestra.networks.encoders.mlp import MLP

    @dataclass(frozen=True)
    class MineConfig(PPOConfig):
        rollout_length: int = 16

    class Mine(PPO):
        Config = MineConfig

    class Net(MLP):
        pass

    run = train(Mine, encoder=Net, encoder_options={"hidden": [8]}, out="mine")
    assert run.config["agent"]["name"] == "from-python:Mine" and run.config["encoder"]["hidden"] == [8]
    assert "agent 'Mine' was an object in a Python program" in message(lambda: palaestra.load("mine").policy)
    again = palaestra.load("mine", agent=Mine, encoder=Net).resume(steps=192, progress=False)
    assert again.steps == 192
    assert "is not a concrete subclass of" in message(lambda: train(dict))


def test_trust_is_for_what_files_name(tmp_path, train, monkeypatch):
    (tmp_path / "far_env.py").write_text(
        "from palaestra.envs.tasks.corridor import Corridor as Hall\nclass Mine(Hall): pass\n"
    )
    run = train(env="./far_env.py:Mine", env_kwargs={"max_episode_steps": 20}, out="far")
    assert run.config["env"] == f"{tmp_path}/far_env.py:Mine" and run.evaluate(1, progress=False)
    assert message(lambda: palaestra.load("far").evaluate(1)).endswith("if you trust it: pass trust=True")
    assert palaestra.load("far", trust=True).evaluate(1, progress=False)
    assert palaestra.load("far", env="far_env.py:Mine").evaluate(1, progress=False)


def test_environments_alone(count_env):
    for env in (count_env, count_env(), "palaestra/Corridor-v0"):
        envs = palaestra.make_envs(env, 3, seed=1)
        try:
            obs = envs.reset()
            step = envs.step(np.ones(3, np.int64))
            assert len(obs) == 3 and step.reward.shape == (3,)
        finally:
            envs.close()
    assert "use sync or async" in message(lambda: palaestra.make_envs(count_env, backend="vector"))
    assert "did you mean 'CartPole-v1'?" in message(lambda: palaestra.make_envs("CartPol-v1"))
