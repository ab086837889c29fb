"""Settings of a run: names, blocks and the file that keeps them."""

from dataclasses import replace

import pytest

from palaestra.training.settings.config import load_config, run_config, save_config, to_dict
from palaestra.training.settings.trust import trusting
from palaestra.training.settings.yaml_files import load_yaml

from .usage_errors import error_of


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
    with trusting(everything=True):
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
