"""MDF: task-specific losses for image restoration, trained on one image (Mustafa et al. 2022).

loss = mdf.load_loss("jpeg.safetensors")  # nn.Module, frozen, eval
value = loss(restored, target)  # (N, 3, H, W) in [0, 1] → scalar; gradient to `restored`
client = mdf.Client("http://127.0.0.1:8000")  # of a running service
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdf.artefact import Manifest
    from mdf.client import Client
    from mdf.errors import ApiError, ArtefactError, MDFError, ShapeError
    from mdf.loading import load_loss
    from mdf.loss import DifferenceMap, MDFLoss

__all__ = [
    "ApiError",
    "ArtefactError",
    "Client",
    "DifferenceMap",
    "MDFError",
    "MDFLoss",
    "Manifest",
    "ShapeError",
    "load_loss",
]

# Where each name lives. They are imported when first used: the command line and the client start
# without torch, the loss works without httpx.
_HOMES = {
    "ApiError": "mdf.errors",
    "ArtefactError": "mdf.errors",
    "Client": "mdf.client",
    "DifferenceMap": "mdf.loss",
    "MDFError": "mdf.errors",
    "MDFLoss": "mdf.loss",
    "Manifest": "mdf.artefact",
    "ShapeError": "mdf.errors",
    "load_loss": "mdf.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
