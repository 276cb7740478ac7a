"""The files that a restorer is offered as.

`safetensors`: the artefact, which this service reads again.
`onnx`: for ONNX Runtime and its kin; input `image`, output `restored`.
`pt2`: a program of `torch.export`, which needs torch alone.

The last two take any batch and any size, as `Restorer` has it: sides are multiples of the
network's `multiple`, and nothing is clamped.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mdf.export import portable
from models.restorers import Restorer
from services.errors import BadModelFileError
from services.restorers.artefact import METADATA_KEY, write_restorer
from services.restorers.manifest import RestorerManifest

Format = Literal["safetensors", "onnx", "pt2"]

TOLERANCE = 1e-4  # of ONNX Runtime's result, as a share of the values' range or of 1


def pack(manifest: RestorerManifest, restorer: Restorer) -> dict[Format, bytes]:
    """Every file of a restorer; the same restorer gives the same bytes.

    `restorer` is in evaluation mode and on the CPU. Raises BadModelFileError if what it computes
    is not finite, or ONNX Runtime does not compute what torch does.
    """
    return {
        "safetensors": write_restorer(manifest, restorer),
        "onnx": onnx_model(manifest, restorer),
        "pt2": program(restorer),
    }


def program(restorer: Restorer) -> bytes:
    """A `.pt2` file: `torch.export.load(file).module()(image)` is the restored image.

    Batch is free from 1 and the sides are from 2 multiples (torch.export takes single pixels for
    another case).
    """
    with _quiet():
        exported = torch.export.export(
            restorer, (_example(restorer),), dynamic_shapes={"image": _free(restorer)}
        )
    return portable(exported)


def onnx_model(manifest: RestorerManifest, restorer: Restorer) -> bytes:
    """An ONNX model with the manifest among its metadata, checked against torch."""
    with _quiet():
        exported = torch.onnx.export(
            restorer,
            (_example(restorer),),
            dynamo=True,
            dynamic_shapes=(_free(restorer),),
            input_names=["image"],
            output_names=["restored"],
            verbose=False,
        )
    assert exported is not None  # noqa: S101 - with dynamo=True it never is
    model = exported.model_proto
    _forget_where_it_was_made(model.graph)
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=manifest.to_json())
    content: bytes = model.SerializeToString(deterministic=True)
    _check(content, restorer)
    return content


def _check(content: bytes, restorer: Restorer) -> None:
    """Compare with torch, on more than one image and of another size than the example's."""
    import onnxruntime

    fold = restorer.multiple
    shape = (2, restorer.channels, 7 * fold, 18 * fold)
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(["restored"], {"image": image})
    with torch.no_grad():
        expected = restorer(torch.from_numpy(image)).numpy()
    if not np.isfinite(expected).all():
        raise BadModelFileError(
            f"the {restorer.kind} network computes values that are not finite for an ordinary "
            "image: its weights are damaged, or of another network"
        )
    error = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
    if not error <= TOLERANCE:
        raise BadModelFileError(
            f"ONNX Runtime computes something else than torch for {restorer.kind}: the results "
            f"differ by {error:.2g}, at most {TOLERANCE:g} is accepted"
        )


def _example(restorer: Restorer) -> Tensor:
    fold = restorer.multiple
    return torch.zeros(2, restorer.channels, 12 * fold, 16 * fold)


def _free(restorer: Restorer) -> dict[int, Any]:
    fold = restorer.multiple
    height, width = torch.export.Dim("height", min=2), torch.export.Dim("width", min=2)
    return {0: torch.export.Dim("batch", min=1), 2: fold * height, 3: fold * width}


def _forget_where_it_was_made(graph: Any) -> None:
    """Take away paths and lines of this machine's files."""
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' running commentary."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
