"""The server's code, which lies beside this package in a checkout and not in the wheel."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mdf.commands.faults import CommandError

_HOW = "git clone the repository, then `make serve` or `make demo` in it"


@contextmanager
def server_code() -> Iterator[None]:
    """Import and use `services` within this block; its faults come out as CommandError."""
    try:
        import services.errors as server_errors
    except ModuleNotFoundError as error:
        raise CommandError(
            f"the server's code is not installed: it runs from a checkout ({_HOW})"
        ) from error
    try:
        yield
    except server_errors.ServiceError as error:
        raise CommandError(error.message) from error
    except ModuleNotFoundError as error:
        raise CommandError(
            f"the server needs the package {error.name!r}; in the checkout: "
            'pip install --constraint constraints.txt --editable ".[server,demo]"'
        ) from error


def shield_children() -> None:
    """Have the server's processes import its own code, whatever the working directory holds.

    `python -m` looks there first, and users have folders named `models` or `services`.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
