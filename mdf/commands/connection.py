"""The options that every command which talks to a server has, and the client they give."""

from typing import Annotated

import typer

from mdf.client import Client

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="MDF_URL",
        metavar="URL",
        help="The server's address.",
        show_default="http://127.0.0.1:8000",
        rich_help_panel="Server",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="MDF_API_KEY",
        metavar="KEY",
        help="The key to show to the server.",
        rich_help_panel="Server",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Print at most so many.")]


def connect(url: str | None, api_key: str | None) -> Client:
    """A client that gives up soon when nothing listens: someone is waiting at the terminal."""
    return Client(url, api_key, retries=2)
