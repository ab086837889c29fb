"""The memory of a world model beside observations: what it is, and who may not have it."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from palaestra.envs.make import make_envs
from palaestra.envs.wrappers.model_memory import MEMORY
from palaestra.training.cli.main import run
from palaestra.training.imagination.fits import load_world_model
from palaestra.training.run.build import env_spec
from palaestra.training.settings.config import load_config
from palaestra.world_models.world_model import as_tensor

ENV = "palaestra/CartPoleNoVel-v0"
FIT = [
    "--steps",
    "400",
    "--fit.updates",
    "10",
    "--fit.judge-every",
    "5",
    "--fit.batch-size",
    "64",
    "--track",
    "none",
]
TRAIN = [
    "--env",
    ENV,
    "--steps",
    "600",
    "--num-envs",
    "4",
    "--memory",
    "none",
    "--agent.rollout-length",
    "16",
]
TRAIN += ["--agent.batch-size", "32", "--evaluate-episodes", "2", "--track", "none", "--show-model-memory"]


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "rnn"
    small = ["--dynamics", "mdn_rnn", "--dynamics.hidden-size", "8"]
    assert run(["world-model", "fit", "--env", ENV, *FIT, *small, "--out", str(folder)]) == 0
    return str(folder)


def test_agents_see_what_the_model_remembers_of_the_steps_so_far(recurrent, tmp_path):
    assert run(["train", "ppo", *TRAIN, recurrent, "--out", str(tmp_path / "run")]) == 0
    model = load_world_model(Path(recurrent)).model
    generator = np.random.default_rng(0)
    with closing(make_envs(env_spec(load_config(tmp_path / "run")))) as envs, torch.no_grad():
        shown, state = envs.reset(), model.initial_state(4)
        assert envs.observation_space[MEMORY].shape == (16,)
        for _ in range(40):
            np.testing.assert_allclose(shown[MEMORY], state, atol=1e-6)
            action = generator.integers(0, 2, 4)
            vector = model.actions(as_tensor(action, model.device))
            state = model.dynamics.observe(model.encode(torch.as_tensor(shown["obs"])), vector, state)
            step = envs.step(action)
            np.testing.assert_allclose(step.next_obs[MEMORY], state, atol=1e-6)
            state = torch.where(torch.as_tensor(step.first).unsqueeze(-1), 0.0, state)
            shown = step.obs
    assert run(["evaluate", str(tmp_path / "run"), "--episodes", "2"]) == 0


def test_who_has_no_memory_or_saw_something_else_is_refused(recurrent, tmp_path, capsys):
    def refusal(model, *more):
        assert run(["train", "ppo", *TRAIN, str(model), *more, "--out", str(tmp_path / "run")]) == 2
        assert not (tmp_path / "run").exists()
        return capsys.readouterr().err

    other = refusal(recurrent, "--frame-stack", "2")
    assert "show_model_memory: " in other and "knows observations Box" in other
    plain = tmp_path / "plain"
    assert run(["world-model", "fit", "--env", ENV, *FIT, "--out", str(plain)]) == 0
    assert "the dynamics 'ensemble' of" in refusal(plain)
    assert "nothing" in refusal(tmp_path / "nothing")


def test_the_control_keeps_its_dynamics_as_they_were_drawn(tmp_path):
    """What two fits of different length share is the observation model's learning alone."""
    words = ["--env", ENV, "--dynamics", "mdn_rnn", "--dynamics.hidden-size", "8", "--fit.untrained-dynamics"]
    models = []
    for steps in ("400", "800"):
        folder = tmp_path / steps
        assert run(["world-model", "fit", *words, *FIT, "--steps", steps, "--out", str(folder)]) == 0
        models.append(load_world_model(folder).model)
    one, other = (dict(model.dynamics.named_parameters()) for model in models)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(models[0].dynamics.deviation, models[1].dynamics.deviation)
