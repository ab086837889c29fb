"""What `import palaestra` gives, and what it costs."""

import dataclasses
import inspect
import subprocess
import sys

import pytest

import palaestra

SLOW_TO_IMPORT = {
    "torch",
    "numpy",
    "gymnasium",
    "tyro",
    "pydantic",
    "yaml",
    "matplotlib",
    "wandb",
    "importlib.metadata",
}


def test_importing_the_package_imports_nothing_large():
    """Under 0.3 s: modules are counted, since seconds depend on the machine."""
    program = (
        "import sys; before = set(sys.modules); import palaestra; new = set(sys.modules) - before; "
        f"assert not {SLOW_TO_IMPORT} & new, new; assert len(new) < 20, new"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_help_imports_nothing_large():
    program = (
        "import sys; before = set(sys.modules); from palaestra.training.cli.main import run; run(['--help']); "
        f"new = set(sys.modules) - before; assert not {SLOW_TO_IMPORT} & new, {SLOW_TO_IMPORT} & new"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("name", palaestra.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    found = getattr(palaestra, name)
    assert found is not None and name in dir(palaestra)
    if inspect.isclass(found) or inspect.isfunction(found):
        assert len(inspect.getdoc(found)) > 20


@pytest.mark.parametrize("found", [palaestra.train, palaestra.load, palaestra.compare, palaestra.make_envs])
def test_signatures_are_typed_and_every_argument_is_explained(found):
    signature, doc = inspect.signature(found), inspect.getdoc(found)
    assert signature.return_annotation is not signature.empty
    for name, parameter in signature.parameters.items():
        assert parameter.annotation is not parameter.empty and f"    {name}: " in doc


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'load_polcy'"):
        palaestra.load_polcy  # noqa: B018


def test_every_option_of_a_run_is_a_keyword():
    from palaestra.keywords import KEYWORDS
    from palaestra.training.settings.config import RunConfig

    fields = {item.name for item in dataclasses.fields(RunConfig)}
    blocks = ("agent", "encoder", "memory", "auxiliary", "bonus", "reward")
    configs, options = ({f"{block}_{kind}" for block in blocks} for kind in ("config", "options"))
    assert set(KEYWORDS) == fields - configs - {"agent"} | options
    named = set(inspect.signature(palaestra.train).parameters) - {
        "agent",
        "config",
        "out",
        "progress",
        "trust",
        "options",
    }
    assert named <= set(KEYWORDS)
