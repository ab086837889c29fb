"""Agents from outside that break their contract are named when they are built."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.agents.agent import Agent
from palaestra.agents.contract import check_agent
from palaestra.training.cli.main import run

SPACE = spaces.Dict({"at": spaces.Box(-1, 1, (3,)), "action_mask": spaces.MultiBinary(2)})
CHOICE = spaces.Discrete(2)


class Right(Agent):
    def __init__(self, action_space=CHOICE):
        self.action_space = action_space

    def initial_state(self, num_envs):
        return np.zeros((num_envs, 4), np.float32)

    def act(self, obs, state, first, explore=True):
        assert not explore and obs["at"].shape == (2, 3) and obs["action_mask"].all() and first.all()
        return np.zeros(2, int), state

    def learn(self, transition):
        return {}

    def parts(self):
        return {"network": torch.nn.Linear(1, 1), "generator": np.random.default_rng(0)}


class Forgetful(Right):
    def initial_state(self, num_envs):
        return None


class Flat(Right):
    def initial_state(self, num_envs):
        return np.zeros(num_envs, np.float32)


class ActionAlone(Right):
    def act(self, *_):
        return np.zeros(2, int)


class OneForAll(Right):
    def act(self, obs, state, *_):
        return 0, state


class Columns(Right):
    def act(self, obs, state, *_):
        return np.zeros((2, 1), int), state


class Shrinking(Right):
    def act(self, obs, state, *_):
        return np.zeros(2, int), state[:, :3]


class NoParts(Right):
    def parts(self):
        return None


class Unsaved(Right):
    def parts(self):
        return {"steps": 3}


def test_one_that_keeps_it_is_left_in_peace():
    check_agent(Right(), SPACE, CHOICE)


def test_actions_may_nest_and_be_tensors_or_lists():
    class Nested(Right):
        def act(self, obs, state, *_):
            return {"go": [0, 1], "turn": (torch.zeros(2, 3),)}, state

    nested = spaces.Dict({"go": CHOICE, "turn": spaces.Tuple((spaces.Box(-1, 1, (3,)),))})
    check_agent(Nested(), SPACE, nested)
    with pytest.raises(TypeError, match=r"expected are actions \(2,\)"):
        check_agent(Nested(), SPACE, CHOICE)


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        (Forgetful, "Forgetful.initial_state(2) returns NoneType; expected is an array (2, S)"),
        (Flat, "Flat.initial_state(2) returns an array (2,); expected is an array (2, S)"),
        (
            ActionAlone,
            "ActionAlone.act returns an array (2,); expected are actions and the next memory",
        ),
        (OneForAll, "OneForAll.act chooses () for two observations; expected are actions (2,)"),
        (Columns, "Columns.act chooses (2, 1) for two observations; expected are actions (2,)"),
        (Shrinking, "Shrinking.act returns as next memory an array (2, 3); expected is (2, 4)"),
        (NoParts, "NoParts.parts returns NoneType; expected is a dict"),
        (Unsaved, "Unsaved.parts: 'steps' is int, which has no state_dict for a checkpoint"),
    ],
)
def test_what_breaks_it_is_named(agent, message):
    with pytest.raises(TypeError) as raised:
        check_agent(agent(), SPACE, CHOICE)
    assert str(raised.value) == message


def test_the_command_line_says_it_in_one_line(tmp_path, capsys):
    file = tmp_path / "agent_that_forgets.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from palaestra.agents.dqn import DQN\n"
        "class Forgets(DQN):\n"
        "    def act(self, *arguments):\n"
        "        return super().act(*arguments)[0]\n",
        encoding="utf-8",
    )
    out = tmp_path / "run"
    assert (
        run(["train", f"{file}:Forgets", "--env", "CartPole-v1", "--steps", "2000", "--out", str(out)]) == 2
    )
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: Forgets.act returns an array (2,); expected are actions and the next memory"
    )
    assert not out.exists()
