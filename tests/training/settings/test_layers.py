import pytest

from palaestra.keywords import config_of
from palaestra.training.imagination.fit_options import read_fit_options
from palaestra.training.settings.layers import merge, merge_options, nested
from palaestra.training.settings.train_options import read_train_options
from palaestra.training.settings.typed import option_name, option_path
from palaestra.training.settings.usage import UsageError


def test_merge_goes_deep_and_leaves_its_arguments_alone():
    low, high = {"a": {"x": 1, "y": 2}, "b": 1, "c": {"z": 1}}, {"a": {"y": 3}, "b": {"n": 1}, "c": 2}
    assert merge(low, high) == {"a": {"x": 1, "y": 3}, "b": {"n": 1}, "c": 2}
    assert low["a"] == {"x": 1, "y": 2} and high["a"] == {"y": 3}


@pytest.mark.parametrize(
    ("layers", "memory"),
    [
        ([{"memory": "lstm"}, {"memory": {"hidden": 16}}], {"name": "lstm", "hidden": 16}),
        ([{"memory": {"hidden": 16}}, {"memory": "lstm"}], {"name": "lstm", "hidden": 16}),
        ([{"memory": {"name": "gru", "hidden": 16}}, {"memory": "lstm"}], {"name": "lstm"}),
        ([{"memory": {"name": "gru", "hidden": 16}}, {"memory": {"name": "lstm"}}], {"name": "lstm"}),
        (
            [{"memory": "gru"}, {"memory": {"hidden": 16}}, {"memory": "lstm"}],
            {"name": "lstm", "hidden": 16},
        ),
        ([{"memory": {"name": "gru", "hidden": 16}}, {"memory": "gru"}], {"name": "gru", "hidden": 16}),
    ],
    ids=[
        "name, options",
        "options, name",
        "of another",
        "of another in a block",
        "of none",
        "of the same",
    ],
)
def test_the_last_component_named_is_taken_with_what_was_written_for_it(layers, memory):
    assert merge_options(*layers)["memory"] == memory


def test_names_as_on_the_command_line():
    assert nested({"agent.learning-rate": 1, "num-envs": 2}) == {
        "agent": {"learning_rate": 1},
        "num_envs": 2,
    }
    both = {"memory": {"name": "lstm", "hidden": 16}}
    assert nested({"memory": "lstm", "memory.hidden": 16}) == both
    assert nested({"memory.hidden": 16, "memory": "lstm"}) == both
    assert option_name("env_options.on_error") == "env.on-error"
    assert option_path("env.on-error") == ["env_options", "on_error"] and option_path("env") == ["env"]
    # --env is the environment, --env.timeout one of its options.
    options = {"env": "CartPole-v1", "env_options": {"timeout": 5}}
    assert nested({"env": "CartPole-v1", "env.timeout": 5}) == options


def test_a_name_and_an_option_of_its_block_in_one_file(tmp_path):
    """Where the preset has another component."""
    given = {"memory": "lstm", "memory.hidden": 16}
    file = tmp_path / "options.yaml"
    file.write_text("memory: lstm\nmemory.hidden: 16\n")
    words = ["--env", "palaestra/RepeatPrevious-v0", "--config", str(file)]
    read, _ = read_train_options("ppo", words)
    asked = config_of("ppo", given, None, {"env": "palaestra/RepeatPrevious-v0"})
    keywords = {"env": "CartPole-v1", "memory_options": {"hidden": 16}}
    apart = config_of("ppo", {"memory": "lstm"}, None, keywords)
    assert [(c.memory, c.memory_config.hidden) for c in (read, asked, apart)] == [("lstm", 16)] * 3
    with pytest.raises(
        UsageError, match=r"^config: written for agent dqn, not for ppo; take its agent block"
    ):
        config_of("ppo", {"agent": {"name": "dqn"}}, None, {"env": "CartPole-v1"})


def test_a_world_model_s_other_dynamics_have_options_of_their_own(tmp_path):
    file = tmp_path / "model.yaml"
    file.write_text("env: CartPole-v1\ndynamics: {name: mdn_rnn, hidden_size: 77}\n")
    config, _ = read_fit_options(["--config", str(file), "--dynamics", "ensemble", "--out", str(tmp_path)])
    assert config.dynamics == "ensemble"
    config, _ = read_fit_options(["--config", str(file), "--dynamics", "mdn_rnn", "--out", str(tmp_path)])
    assert config.dynamics_config.hidden_size == 77
