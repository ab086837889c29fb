from dataclasses import dataclass

import pytest

from palaestra.agents.schedules import check_schedules, scheduled


@pytest.mark.parametrize(
    ("schedule", "progress", "value"),
    [
        (0.3, 0.9, 0.3),
        ("0.3", 0.9, 0.3),
        ("1e-3", 0.0, 1e-3),
        (2, 0.5, 2.0),
        ("linear(1, 0)", 0.0, 1.0),
        ("linear(1, 0)", 0.25, 0.75),
        ("linear(1, 0)", 1.0, 0.0),
        ("linear(1.0, 0.1, 0.5)", 0.25, 0.55),
        ("linear(1.0, 0.1, 0.5)", 0.75, 0.1),
        (" linear( 1e-3 ,2e-3 ) ", 0.5, 1.5e-3),
        ("linear(0, 10, 1)", 0.3, 3.0),
    ],
)
def test_schedules(schedule, progress, value):
    assert scheduled(schedule, progress) == pytest.approx(value)


@pytest.mark.parametrize(
    "schedule",
    ["", "fast", "linear", "linear(1)", "linear(1, 0", "linear(1, 0, 2)", "linear(1, 0, 0)", "linear(a, b)"],
)
def test_unreadable_schedules_say_what_to_write(schedule):
    with pytest.raises(ValueError, match=r"cannot read schedule .*: write a number, linear\(start, end\) or"):
        scheduled(schedule, 0.0)


@dataclass(frozen=True)
class Config:
    learning_rate: float | str = 1e-3
    epsilon: float | str = "linear(1, 0.05, 0.5)"


def test_schedules_of_a_config_are_checked_at_both_ends():
    check_schedules(Config(), "learning_rate", "epsilon")
    for bad in (-1e-9, "linear(1, -0.1)", "linear(-1, 1)", float("nan")):
        with pytest.raises(ValueError, match="epsilon: must stay >= 0, got"):
            check_schedules(Config(epsilon=bad), "learning_rate", "epsilon")
    for value in (2.0, "linear(3, 0.1)", "linear(0.1, 1.5)"):
        with pytest.raises(ValueError, match="epsilon: must stay <= 1, got"):
            check_schedules(Config(epsilon=value), "epsilon", maximum=1)
    with pytest.raises(ValueError, match=r"learning_rate: must stay >= 0\.1"):
        check_schedules(Config(), "learning_rate", minimum=0.1)
