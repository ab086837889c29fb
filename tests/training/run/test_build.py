"""The encoder follows from what the environment shows, unless one is named."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from palaestra.networks.encoders.cnn import CNN
from palaestra.networks.encoders.mlp import MLP
from palaestra.training.run import build
from palaestra.training.run.build import check_encoder, env_spec, evaluation_spec, on_this_machine
from palaestra.training.settings.config import run_config
from palaestra.training.settings.default_encoder import default_encoder
from palaestra.training.settings.train_options import read_train_options

CATCH = "palaestra/Catch-v0"


@pytest.mark.parametrize(
    ("env", "kwargs", "encoder"),
    [
        ("CartPole-v1", {}, "mlp"),
        ("FrozenLake-v1", {}, "mlp"),
        (CATCH, {}, "cnn"),
        (CATCH, {"flat": True}, "mlp"),
        ("NoSuchEnvironment-v0", {}, "mlp"),  # reported where it is made
        (CATCH, {"flta": True}, "mlp"),
    ],
)
def test_the_default_encoder(env, kwargs, encoder):
    assert default_encoder(env, kwargs) == encoder


def test_a_picture_among_other_things():
    class Robot(gymnasium.Env):
        action_space = spaces.Discrete(2)
        observation_space = spaces.Dict(
            camera=spaces.Box(0, 255, (9, 9, 3), np.uint8), speed=spaces.Box(-1, 1)
        )

    before = dict(gymnasium.registry)
    gymnasium.register("Robot-v0", Robot)
    try:
        assert default_encoder("Robot-v0", {}) == "cnn"
    finally:
        gymnasium.registry.clear()
        gymnasium.registry.update(before)


@pytest.mark.parametrize(
    ("env", "options", "threads"),
    [
        ("CartPole-v1", {}, 1),
        (CATCH, {}, 1),  # 10 x 5
        ("palaestra/CartPolePixels-v0", {}, 7),
        ("palaestra/CartPolePixels-v0", {"encoder": "mlp"}, 1),
        (CATCH, {"threads": 3}, 3),
    ],
)
def test_many_threads_are_for_large_pictures(monkeypatch, env, options, threads):
    monkeypatch.setattr(build, "usable_cores", lambda: 7)
    assert on_this_machine(run_config({"agent": "ppo", "env": env, **options})).threads == threads


def test_it_is_what_a_run_records():
    config = run_config({"agent": "ppo", "env": CATCH})
    assert config.encoder == "cnn" and isinstance(config.encoder_config, CNN.Config)
    assert run_config({"agent": "ppo", "env": CATCH, "encoder": "mlp"}).encoder == "mlp"


def test_arguments_of_the_environment_count():
    config, _ = read_train_options("ppo", ["--env", CATCH, "--env-kwargs", "flat=true", "--steps", "1k"])
    assert config.encoder == "mlp" and config.env_kwargs == {"flat": True}
    config, _ = read_train_options("ppo", ["--env", CATCH, "--encoder.hidden", "32"])
    assert config.encoder == "cnn" and config.encoder_config.hidden == 32


@pytest.mark.parametrize(
    ("words", "encoder"),
    [
        (["--env.wrappers", "gymnasium.wrappers:FlattenObservation"], "mlp"),
        (["--env.wrappers=gymnasium.wrappers:FlattenObservation"], "mlp"),
        (["--env.wrappers", "gymnasium.wrappers:FlattenObservation", "--encoder", "cnn"], "cnn"),
        (["--env.wrappers", "gymnasium.wrappers:FrameStackObservation(stack_size=2)"], "cnn"),
        ([], "cnn"),
    ],
)
def test_what_wrappers_make_of_an_observation_counts(words, encoder):
    config, _ = read_train_options("ppo", ["--env", "palaestra/CartPolePixels-v0", *words])
    assert config.encoder == encoder and len(config.env_options.wrappers) == bool(words)


def test_a_pool_may_show_something_else():
    pytest.importorskip("envpool")
    config, _ = read_train_options("ppo", ["--env", "Pong-v5", "--backend", "envpool"])
    assert config.encoder == "cnn"
    config, _ = read_train_options("ppo", ["--env", "CartPole-v1", "--backend", "envpool"])
    assert config.encoder == "mlp"


def test_frames_are_stacked_in_training_and_in_evaluation():
    config, _ = read_train_options("ppo", ["--env", "CartPole-v1", "--frame-stack", "3"])
    assert env_spec(config).frame_stack == evaluation_spec(config).frame_stack == 3
    assert evaluation_spec(config).num_envs == 1


def test_the_wrong_encoder_is_told_the_right_ones():
    with pytest.raises(TypeError, match=r"^encoder 'cnn' takes pictures.*got Discrete\(3\); use mlp$"):
        check_encoder("cnn", CNN, spaces.Discrete(3))
    with pytest.raises(TypeError, match=r"^encoder 'mlp' takes Box.*got Text.*; none of ours does$"):
        check_encoder("mlp", MLP, spaces.Text(3))
    camera = spaces.Box(0, 255, (9, 9, 3), np.uint8)
    check_encoder("cnn", CNN, spaces.Dict(camera=camera, gear=spaces.Discrete(5)))
    check_encoder("mlp", MLP, camera)
