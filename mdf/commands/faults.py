"""Every expected fault ends a command with one line on standard error, never a traceback."""

from typing import Any

import typer
from typer.core import TyperGroup

from mdf.commands.terminal import err
from mdf.errors import ApiError, MDFError, UnreachableError

INTERRUPTED = 130


class CommandError(MDFError):
    """What a command cannot do, in words for the person at the terminal."""


class FaultBoundary(TyperGroup):
    """The outermost command: turns faults into a line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except MDFError as error:
            _complain(_explain(error))
            raise typer.Exit(1) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError):  # who read the output has left
                raise
            reason = error.strerror or str(error) or type(error).__name__
            _complain(reason if error.filename is None else f"{error.filename}: {reason}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error


def _complain(message: str) -> None:
    err.print("[bold red]error:[/] ", end="")
    err.print(message, markup=False, soft_wrap=True)


def _explain(error: MDFError) -> str:
    if isinstance(error, UnreachableError):
        return f"{error}. Start one with `mdf serve`, or name another with --url or MDF_URL"
    if isinstance(error, ApiError) and error.status == 401:
        return f"{error}. Give a key with --api-key or MDF_API_KEY"
    if isinstance(error, ApiError) and error.status >= 500 and error.request_id:
        return f"{error} [request {error.request_id}]"
    return str(error)
