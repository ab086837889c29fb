"""Reading settings: strict, typed, and with one line that says what is wrong."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Interval

from palaestra.training.config import load_config, run_config, save_config, to_dict
from palaestra.training.presets import find_preset, merge, read_config
from palaestra.training.typed import build, parse_count
from palaestra.training.usage import UsageError, nearest
from palaestra.training.yaml_files import load_yaml, parse_yaml


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


def error_of(function, *arguments) -> str:
    with pytest.raises(UsageError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message and "pydantic" not in message
    return message


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


# -- YAML -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[
            ("on", "on"),
            ("off", "off"),
            ("no", "no"),
            ("true", True),
            ("false", False),
            ("~", None),
            ("", None),
        ],
        *[("1e5", 1e5), ("1e-3", 1e-3), ("3.", 3.0), (".5", 0.5), ("-.inf", float("-inf")), ("1_000", 1000)],
        *[("1:30", "1:30"), ("2024-01-01", "2024-01-01"), ("'1e5'", "1e5"), ("[1, 2]", [1, 2])],
    ],
)
def test_scalars_are_what_they_look_like(text, value):
    read = parse_yaml(f"key: {text}", "f.yaml")["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "f.yaml, line 2: 'a' stands twice"),
        ("x:\n  a: 1\n  b: 1\n  a: 2", "f.yaml, line 4: 'a' stands twice"),
        ("a: [1", "f.yaml, line 1: expected ',' or ']', but got '<stream end>'"),
        ("- 1", "f.yaml: expected a mapping at the top level, got [1]"),
        ("a: &x [*x]", "f.yaml, line 1: aliases are not supported"),
        ("a: &x {b: 1}\nc: {<<: *x}", "f.yaml, line 2: aliases are not supported"),
        ("[1]: 2", "f.yaml, line 1: found unhashable key"),
        ("a: " + "[" * 3000, "f.yaml: nested too deeply"),
        (
            "a: \x00",
            "f.yaml: unacceptable character #x0000: special characters are not allowed in "
            '"<unicode string>", position 3',
        ),
    ],
)
def test_broken_yaml_is_one_line_with_its_place(text, message):
    assert error_of(parse_yaml, text, "f.yaml") == message


def test_tags_that_make_objects_are_refused(tmp_path):
    marker = tmp_path / "made"
    text = f"a: !!python/object/apply:os.mkdir ['{marker}']"
    assert "could not determine a constructor" in error_of(parse_yaml, text, "f.yaml")
    assert not marker.exists()


def test_files_that_cannot_be_read(tmp_path):
    assert "No such file" in error_of(load_yaml, tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    assert error_of(load_yaml, tmp_path / "binary.yaml").startswith("cannot read")
    (tmp_path / "empty.yaml").write_text("")
    assert load_yaml(tmp_path / "empty.yaml") == {}


def test_merge_goes_deep_and_leaves_its_arguments_alone():
    low, high = {"a": {"x": 1, "y": 2}, "b": 1, "c": {"z": 1}}, {"a": {"y": 3}, "b": {"n": 1}, "c": 2}
    assert merge(low, high) == {"a": {"x": 1, "y": 3}, "b": {"n": 1}, "c": 2}
    assert low["a"] == {"x": 1, "y": 2} and high["a"] == {"y": 3}


# -- Runs -----------------------------------------------------------------------------------------------------------


def test_presets_are_found_by_agent_and_environment():
    assert find_preset("ppo", "CartPole-v1")["agent"]["rollout_length"] == 128
    assert find_preset("ppo", "nobody/Knows:This-v0") == {}


def test_a_preset_for_any_environment_is_found_by_its_name(tmp_path, monkeypatch):
    assert read_config("ddpg", "td3")["agent"]["twin_critics"] is True
    with pytest.raises(UsageError, match="cannot read td4"):
        read_config("ddpg", "td4")
    # A file of that name in the folder where the user stands is what they mean.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "td3").write_text("steps: 5")
    assert read_config("ddpg", "td3") == {"steps": 5}


def test_an_agent_can_have_its_own_idea_of_an_encoder():
    values = {"agent": "ddpg", "env": "Pendulum-v1"}
    assert run_config(values).encoder_config.hidden == ()
    assert run_config(values | {"encoder": {"hidden": [8]}}).encoder_config.hidden == (8,)
    assert run_config(values | {"agent": "ppo"}).encoder_config.hidden == (64, 64)


def test_a_run_reads_names_blocks_and_counts():
    config = run_config(
        {"agent": {"name": "ppo", "gamma": 0.9}, "env": "E-v0", "steps": "1e5", "encoder": {"hidden": [8]}}
    )
    assert (config.agent, config.encoder, config.memory, config.steps) == ("ppo", "mlp", "none", 100_000)
    assert config.agent_config.gamma == 0.9
    assert config.encoder_config.hidden == (8,)
    assert run_config({"agent": "ppo", "env": "E-v0"}).agent_config.gamma == 0.99


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "agent: is missing"),
        ({"agent": "ppo"}, "env: is missing"),
        ({"agent": "ppo", "env": "E", "stepz": 1}, "stepz: unknown key; did you mean 'steps'?"),
        ({"agent": "ppo", "env": "E", "steps": 0}, "steps: must be > 0, got 0"),
        ({"agent": "ppo", "env": "E", "env_options": 3}, "env_options: expected a mapping, got 3"),
        (
            {"agent": "ppo", "env": "E", "env_options": {"wrappers": 5}},
            "env_options.wrappers: must be a list, got 5",
        ),
        ({"agent": "ppo", "env": "E", "compile": "of"}, "compile: must be 'auto', 'on' or 'off', got 'of'"),
        ({"agent": {"name": "ppo", "gamma": 2}, "env": "E"}, "agent.gamma: must be <= 1, got 2"),
        (
            {"agent": {"name": "ppo", "gama": 1}, "env": "E"},
            "agent.gama: unknown key; did you mean 'agent.gamma'?",
        ),
    ],
)
def test_what_is_wrong_with_a_run(values, message):
    assert error_of(run_config, values, "f.yaml: ") == f"f.yaml: {message}"


def test_internal_names_are_no_keys():
    """They would be overwritten without a word."""
    message = error_of(run_config, {"agent": "ppo", "env": "E", "agent_config": {"gamma": 0}})
    assert message.startswith("agent_config: unknown key")


KWARGS = {
    "on": "off",
    "text": "1e5",
    "number": 1e-5,
    "deep": {"list": [1, [True, None]]},
    "é": "010",
    "inf": 1e400,
}


def test_a_saved_config_is_the_same_config(tmp_path):
    config = run_config({"agent": {"name": "ppo", "learning_rate": "linear(1e-3, 0)"}, "env": "a/B:C-v1"})
    config = replace(config, env_kwargs=KWARGS, compile="off", steps=10**20)
    save_config(tmp_path, config)
    assert load_config(tmp_path) == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert run_config(to_dict(config)) == config
    assert load_yaml(tmp_path / "config.yaml").keys() == to_dict(config).keys()


def test_shared_and_nested_values_are_written_out(tmp_path):
    shared = [1, 2]
    config = run_config(
        {"agent": "ppo", "env": "E", "env_kwargs": {"a": shared, "b": shared, "c": (3, (4,))}}
    )
    save_config(tmp_path, config)
    assert "&" not in (tmp_path / "config.yaml").read_text()
    assert load_config(tmp_path).env_kwargs == {"a": [1, 2], "b": [1, 2], "c": [3, [4]]}


def test_what_cannot_be_written_leaves_the_old_config(tmp_path):
    config = run_config({"agent": "ppo", "env": "E"})
    save_config(tmp_path, config)
    broken = replace(config, env_kwargs={"callback": object()})
    assert error_of(save_config, tmp_path, broken) == "env_kwargs: object cannot be written to a file"
    assert load_config(tmp_path) == config


def test_a_folder_that_is_no_run_is_named(tmp_path):
    assert error_of(load_config, tmp_path) == f"{tmp_path} is not a run: it has no config.yaml"
    absent = tmp_path / "absent"
    assert error_of(load_config, absent) == f"{absent} is not a run: there is no such folder"
