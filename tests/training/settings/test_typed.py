"""Plain values into dataclasses: strict, typed, and with one line that says what is wrong."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Interval

from palaestra.training.settings.typed import build, parse_count, parse_switch
from palaestra.training.settings.usage import nearest

from .usage_errors import error_of


@dataclass(frozen=True)
class Inner:
    size: Annotated[int, Gt(0)] = 1


@dataclass(frozen=True)
class Options:
    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.99
    epochs: Annotated[int, Gt(0)] = 4
    clip: Annotated[float, Gt(0)] | None = None
    rate: float | str = 1e-3
    hidden: tuple[Annotated[int, Gt(0)], ...] = (64, 64)
    activation: Literal["tanh", "relu"] = "tanh"
    squash: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    inner: Inner = Inner()

    def __post_init__(self):
        if self.squash and self.epochs == 1:
            raise ValueError("squash: needs more epochs")
        if self.squash and self.epochs == 2:
            raise ValueError("cannot squash twice")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[("100000", 100_000), ("100_000", 100_000), ("1e5", 100_000), ("1E5", 100_000), (" 7 ", 7)],
        *[("100k", 100_000), ("1M", 1_000_000), ("0.25M", 250_000), ("1.5e3", 1500), ("-3", -3), ("0", 0)],
        ("9007199254740993", 2**53 + 1),  # a float would round it
    ],
)
def test_counts_are_read_as_people_write_them(text, number):
    assert parse_count(text) == number


@pytest.mark.parametrize(
    "text", ["", "abc", "1.5", "1e-1", "1e400", "inf", "nan", "0x10", "1/2", "k", "1 000"]
)
def test_what_is_no_count_is_refused(text):
    with pytest.raises(ValueError, match="not a whole number"):
        parse_count(text)


def test_switches_are_read_however_they_are_capitalised():
    assert [parse_switch(text) for text in ("true", "False", "NONE")] == [True, False, None]
    with pytest.raises(ValueError, match="neither true nor false nor none: 'yes'"):
        parse_switch("yes")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("epochs", "1e2", 100),
        ("epochs", "1_000", 1000),
        ("epochs", 1e3, 1000),
        ("gamma", "1e-3", 0.001),
        ("gamma", 1, 1.0),
        ("clip", "1e-3", 0.001),
        ("clip", None, None),
        ("rate", "linear(1, 0)", "linear(1, 0)"),
        ("hidden", [32, "1e2"], (32, 100)),
        ("hidden", [], ()),
        ("extra", {"a": [1, {"b": True}]}, {"a": [1, {"b": True}]}),
        ("inner", {"size": "1k"}, Inner(1000)),
        ("inner", Inner(3), Inner(3)),
    ],
)
def test_values_take_the_type_of_their_field(key, value, expected):
    built = getattr(build(Options, {key: value}), key)
    assert built == expected
    assert type(built) is type(expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gamma": 1.5}, "gamma: must be <= 1, got 1.5"),
        ({"gamma": float("nan")}, "gamma: must be a finite number, got nan"),
        ({"gamma": True}, "gamma: must be a number, got True"),
        ({"gamma": "high"}, "gamma: must be a number, got 'high'"),
        ({"epochs": 0}, "epochs: must be > 0, got 0"),
        ({"epochs": 2.5}, "epochs: must be a whole number, got 2.5"),
        ({"epochs": True}, "epochs: must be a whole number, got True"),
        ({"epochs": None}, "epochs: must be a whole number, got None"),
        ({"clip": -1}, "clip: must be > 0, got -1"),
        ({"rate": [1]}, "rate: must be a number or text, got [1]"),
        ({"rate": False}, "rate: must be a number or text, got False"),
        ({"hidden": 64}, "hidden: must be a list, got 64"),
        ({"hidden": [64, True]}, "hidden[1]: must be a whole number, got True"),
        ({"hidden": [64, 0]}, "hidden[1]: must be > 0, got 0"),
        ({"activation": "tahn"}, "activation: must be 'tanh' or 'relu', got 'tahn'"),
        ({"squash": 1}, "squash: must be true or false, got 1"),
        ({"squash": "yes"}, "squash: must be true or false, got 'yes'"),
        ({"extra": [1]}, "extra: must be a mapping, got [1]"),
        ({"inner": {"size": -1}}, "inner.size: must be > 0, got -1"),
        ({"inner": 3}, "inner: expected a mapping, got 3"),
        ({"gama": 1}, "gama: unknown key; did you mean 'agent.gamma'?"),
        ({"GAMMA": 1}, "GAMMA: unknown key; did you mean 'agent.gamma'?"),
        ({"inner": {"sise": 1}}, "inner.sise: unknown key; did you mean 'agent.inner.size'?"),
        ({"squash": True, "epochs": 1}, "squash: needs more epochs"),
    ],
)
def test_a_wrong_value_is_one_line_with_its_place(values, message):
    assert error_of(build, Options, values, "f.yaml: ", "agent.") == f"f.yaml: agent.{message}"


def test_an_error_across_fields_names_the_block():
    values = {"squash": True, "epochs": 2}
    assert error_of(build, Options, values, "f.yaml: ", "agent.") == "f.yaml: agent: cannot squash twice"


def test_long_values_are_shortened():
    assert len(error_of(build, Options, {"epochs": "9" * 5000 + "x"})) < 100


def test_a_required_field_is_asked_for():
    @dataclass(frozen=True)
    class Needs:
        name: Annotated[int, Ge(0)]

    assert error_of(build, Needs, {}, "f.yaml: ") == "f.yaml: name: is missing"


def test_the_nearest_name_ignores_case():
    assert nearest("PPO", ["dqn", "ppo"]) == "did you mean 'ppo'?"
    assert nearest("xyz", ["dqn", "ppo"]) == "there are: dqn, ppo"
    assert nearest("xyz", []) == "there are: none"
