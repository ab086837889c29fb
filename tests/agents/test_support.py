import warnings

import numpy as np
import pytest

from palaestra.agents.agent import Transition
from palaestra.agents.support import SupportCheck, outward, return_range


def step(reward, terminated):
    reward, end = np.array(reward, float), np.array(terminated)
    return Transition(None, None, reward, end, end & ~end, None, end, None)


def test_returns_from_every_step_on():
    assert return_range([1.0, -4.0, 6.0], 0.5) == (-1.0, 6.0)  # 6, -4 + 3, 1 - 0.5


def test_returns_outside_are_said_once_with_a_range_that_fits():
    check = SupportCheck(-10, 10, 0.5, silence=9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check.add(step([1.0, 8.0], [False, False]))
        check.add(step([1.0, 4.0], [True, True]))  # 8 + 2
        check.add(step([1.0, 8.0], [False, False]))
        check.add(step([1.0, 5.0], [False, True]))  # 8 + 2.5, while nothing is learned yet
    with pytest.warns(RuntimeWarning, match=r"from 1 to 30, .* --agent.value-min -10 --agent.value-max 30$"):
        check.add(step([1.0, 30.0], [False, True]))
    check.add(step([1.0, 500.0], [False, True]))


def test_what_fits_is_not_mentioned(recwarn):
    check = SupportCheck(-10, 10, 0.5, silence=0)
    for _ in range(5):
        check.add(step([10.0, -10.0], [True, True]))
    assert not recwarn


def test_without_a_support_nothing_is_said():
    SupportCheck(-10, 10, 0.5, silence=None).add(step([99.0], [True]))


@pytest.mark.parametrize(
    ("value", "text"), [(30.0, "30"), (30.1, "31"), (-1234.0, "-1300"), (0.0, "0"), (0.011, "0.011")]
)
def test_limits_are_rounded_outward(value, text):
    assert outward(value) == text
