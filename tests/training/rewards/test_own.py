"""Learned rewards from outside: what is no reward is named, instead of the agent that would learn from it."""

import re

import numpy as np
import pytest

from palaestra.training.cli.main import run
from palaestra.training.rewards.reward import Bonus, BonusConfig, checked
from palaestra.training.rewards.rewarded import Rewarded
from palaestra.training.run.clocks import Meter
from palaestra.training.settings.usage import RunFailedError

from .steps import random_steps, setting

CURIOUS = """
import numpy as np
from palaestra.training.rewards.reward import Bonus, BonusConfig

class Curious(Bonus):
    Config = BonusConfig

    def bonus(self, transition, rows, visits):
        return np.where(visits == 3, np.nan, 1.0), {}
"""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (np.zeros(3), "returns array([0., 0., 0.]); expected are rewards (3,) and a dict of metrics"),
        ((np.zeros(3), None), "returns (array([0., 0., 0.]), None); expected"),
        ((None, {}), "returns rewards () of object; expected are (3,), a number for each step"),
        ((1.0, {}), "returns rewards () of float64; expected"),
        ((np.zeros((3, 1)), {}), "returns rewards (3, 1) of float64; expected"),
        ((np.array([0, -np.inf, 0]), {}), "returns a reward of -inf, which the agent cannot learn from"),
    ],
)
def test_what_is_no_reward_is_told(found, said):
    with pytest.raises(RunFailedError, match=re.escape(said)):
        checked("Curious.bonus", found, 3)

    class Own(Bonus):
        def bonus(self, transition, rows, visits):
            return found

    class Collector:
        envs = None

        def step(self):
            return next(steps)._replace(valid=None), []

    made = setting(num_envs=3)
    steps = random_steps(made)
    with pytest.raises(RunFailedError, match=re.escape(f"Own.bonus {said}")):
        Rewarded(Collector(), {"bonus": Own(BonusConfig(), made)}, Meter()).step()


def test_numbers_of_any_type_are_rewards():
    assert checked("Curious.bonus", ([True, False], {}), 2)[0].tolist() == [True, False]


def test_a_run_says_that_its_bonus_is_no_number(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_bonus_of_my_own.py").write_text(CURIOUS, encoding="utf-8")
    words = "ppo --env palaestra/Corridor-v0 --bonus a_bonus_of_my_own:Curious --track none --out run --steps 1024"
    assert run(["train", *words.split()]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == "error: Curious.bonus returns a reward of nan, which the agent cannot learn from"
