"""What `--estimate` prints: how long a training would take, and how much memory."""

from typing import Annotated

import typer

from mdf.client import Estimate
from mdf.commands.terminal import duration, print_fields, print_json, size

EstimateOnly = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="Tell how long it would take and how much memory, and start nothing; what the server "
        "does not have yet is uploaded.",
    ),
]


def check_on_server(*, estimate: bool, local: bool) -> None:
    """Refuse to estimate what is not to run on a server."""
    if estimate and local:
        raise typer.BadParameter("it asks a server: leave --local out", param_hint="--estimate")


def print_estimate(estimate: Estimate, *, as_json: bool) -> None:
    """The estimate in words, or as JSON."""
    if as_json:
        print_json(estimate)
        return
    low, high = estimate.seconds_low, estimate.seconds_high
    whose = "the GPU's" if estimate.memory == "gpu" else "the host's"
    known = estimate.memory_bytes
    print_fields(
        {
            "time": "not known"
            if low is None or high is None
            else f"{duration(low)} to {duration(high)}",
            "memory": "not known" if known is None else f"up to {size(known)} of {whose}",
            "basis": estimate.basis,
            "starts": _start(estimate),
        }
    )


def _start(estimate: Estimate) -> str:
    if estimate.jobs_ahead:
        return f"after {estimate.jobs_ahead} that wait already"
    if estimate.wait_seconds is None:
        return "when a worker is free"
    if estimate.wait_seconds == 0:
        return "at once"
    return f"in about {duration(estimate.wait_seconds)}"
