"""Every agent with every encoder, memory, action and observation space: exported, and equal to the agent."""

import gymnasium
import pytest

from .cells import ACTIONS, ALL, MATRIX, OBSERVATIONS, SAMPLED, export_cell

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

FAST = [
    "rainbow, mlp nested, lstm",
    "quantile, cnn, none",
    "ppo, cnn nested, transformer",
    "masks in a Tuple",
    "previous action",
    "sampled: squashed Box",
]
BY_NAME = {cell.name: cell for cell in ALL}
OTHER_FORMATS = [
    "ppo, impala, lstm",
    "previous action",
    "previous values",
    "masked values",
    "sampled: all parts",
]


@pytest.fixture(autouse=True)
def registry():
    before = dict(gymnasium.registry)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


@pytest.mark.parametrize("name", FAST)
def test_a_few_of_the_matrix(name, tmp_path):
    exported(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in FAST])
def test_the_whole_matrix(name, tmp_path):
    exported(name, tmp_path)


@pytest.mark.parametrize("name", OTHER_FORMATS[2:])
def test_torchscript(name, tmp_path):
    exported(name, tmp_path, "torchscript")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torchscript", "torch-export"])
@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_other_formats(name, format, tmp_path):
    exported(name, tmp_path, format)


def exported(name, folder, format="onnx"):
    values = export_cell(BY_NAME[name], folder, format)
    checked = values["checked"]
    assert checked["observations"] == 1000 and checked["episode_steps"] == 20
    # Weights are random: a choice is hardly ever as good as the next one.
    assert checked["ties"] <= 2
    assert sorted(path.name for path in folder.iterdir()) == ["policy.json", f"policy.{format}"]
    states = {port["name"] for port in values["inputs"] if port["role"] == "state"}
    assert (
        states == set(values["initial_state"]) == {port.get("input") for port in values["outputs"]} - {None}
    )


def test_the_matrix_is_what_the_docs_say():
    assert (len(MATRIX), len(ACTIONS) + len(OBSERVATIONS), len(SAMPLED)) == (203, 23, 5)
