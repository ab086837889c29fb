"""What `import palaestra` gives, and what it costs."""

import subprocess
import sys

import pytest

import palaestra


def test_importing_the_package_imports_nothing_large():
    program = "import sys, palaestra; assert not {'torch', 'numpy', 'gymnasium'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", palaestra.__all__)
def test_every_public_name_is_there(name):
    assert getattr(palaestra, name) is not None
    assert name in dir(palaestra)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'load_polcy'"):
        palaestra.load_polcy  # noqa: B018
