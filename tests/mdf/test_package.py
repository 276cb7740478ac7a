"""`import mdf` is light, and offers what its documentation names."""

import subprocess
import sys

import pytest

import mdf


def test_importing_the_package_imports_nothing_heavy():
    script = (
        "import mdf, sys;"
        "print(sorted({'torch', 'httpx', 'typer', 'rich', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", mdf.__all__)
def test_every_public_name_is_there(name):
    assert getattr(mdf, name).__name__ == name
    assert name in dir(mdf)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'mdf' has no attribute 'nothing'"):
        mdf.nothing  # noqa: B018 - the access is the test
