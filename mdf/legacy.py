"""Reads the weights that the authors of the MDF loss published.

Their `.pth` files are pickles of whole modules: a list of `SinGAN.models.WDiscriminator`,
coarsest scale first. They are read as data (see `mdf.pickles`) and never executed.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mdf import pickles
from mdf.artefact import MAX_LAYERS, Manifest
from mdf.discriminator import MIN_LAYERS, NEGATIVE_SLOPE, Discriminator, Padding
from mdf.errors import ArtefactError
from mdf.pickles import Record

MAX_SCALES = 8  # that the published loss compares, whatever the file holds
FORWARDS_PER_ITERATION = 12  # of a discriminator, in the authors' training

_NETWORK = "SinGAN.models.WDiscriminator"
_BLOCK = "SinGAN.models.ConvBlock"
_SEQUENCE = "torch.nn.modules.container.Sequential"
_CONVOLUTION = "torch.nn.modules.conv.Conv2d"
_NORM = "torch.nn.modules.batchnorm.BatchNorm2d"
_ACTIVATION = "torch.nn.modules.activation.LeakyReLU"
CLASSES = frozenset({_NETWORK, _BLOCK, _SEQUENCE, _CONVOLUTION, _NORM, _ACTIVATION})

_SUPPORTED: dict[str, dict[str, Any]] = {
    _CONVOLUTION: {
        "kernel_size": (3, 3),
        "stride": (1, 1),
        "dilation": (1, 1),
        "groups": 1,
        "padding_mode": "zeros",
    },
    _NORM: {"eps": 1e-5, "affine": True, "track_running_stats": True},
    _ACTIVATION: {"negative_slope": NEGATIVE_SLOPE},
}


def read_published(
    content: bytes, *, task: dict[str, Any] | None = None
) -> tuple[Manifest, list[Discriminator]]:
    """The discriminators in a file of the authors, and a manifest that says so.

    Args:
        content: the `.pth` file, in either format of `torch.save`.
        task: the restoration task to name in the manifest, which the file does not know.

    A file with more than eight discriminators gives the first eight, as the published loss uses.
    Raises: ArtefactError that names what is refused, damaged or unlike the published networks.
    """
    return from_records(pickles.load(content, classes=CLASSES), task=task)


def from_records(
    networks: Any, *, task: dict[str, Any] | None = None
) -> tuple[Manifest, list[Discriminator]]:
    """As `read_published`, from what `pickles.load` made of the file."""
    if not isinstance(networks, list) or not networks:
        raise ArtefactError("the file does not hold a list of discriminators")
    try:
        used = [_network(network, f"scales.{k}") for k, network in enumerate(networks[:MAX_SCALES])]
    except (TypeError, ValueError, LookupError, RuntimeError) as error:  # of comparing anything
        raise ArtefactError(f"the discriminators are not like the published: {error}") from None
    forms = {(each.layers, each.padding) for each in used}
    if len(forms) > 1:
        raise ArtefactError("the discriminators differ in layers or padding; all must be alike")
    ((layers, padding),) = forms
    recipe: dict[str, Any] = {"note": "read from the authors' published weights"}
    if len(networks) > MAX_SCALES:
        recipe["note"] += f"; the first {MAX_SCALES} of {len(networks)} discriminators"
    manifest = Manifest(
        origin="imported",
        widths=tuple(each.width for each in used),
        iterations=_iterations(used),
        layers=layers,
        padding=padding,
        taps="published",
        value_range=(0.0, 1.0),
        task=task or {},
        recipe=recipe,
    )
    return manifest, manifest.discriminators([each.state for each in used])


@dataclass
class _Network:
    """One discriminator's tensors, named as ours are, and its form."""

    state: dict[str, Tensor]
    padding: Padding
    layers: int
    width: int
    forwards: int


def _iterations(networks: list[_Network]) -> tuple[int, ...]:
    """Iterations of each scale, from BatchNorm's counters.

    Where widths match, a scale starts from the one before, whose count it carries on.
    """
    done = []
    width, forwards = 0, 0
    for network in networks:
        warm = network.width == width and network.forwards > forwards
        own = network.forwards - forwards if warm else network.forwards
        done.append(own // FORWARDS_PER_ITERATION)
        width, forwards = network.width, network.forwards
    return tuple(done)


def _network(network: Any, name: str) -> _Network:
    parts = _children(network, _NETWORK, name)
    blocks = _children(parts.get("body"), _SEQUENCE, f"{name}.body")
    layers = len(blocks) + 2
    if not MIN_LAYERS <= layers <= MAX_LAYERS:
        raise ArtefactError(
            f"{name} has {layers} convolutions; from {MIN_LAYERS} to {MAX_LAYERS} are supported"
        )
    named_blocks = {"head": parts.get("head")}
    named_blocks |= {f"body.{i}": block for i, block in enumerate(blocks.values())}

    state: dict[str, Tensor] = {}
    convolutions = {"tail": _check(parts.get("tail"), _CONVOLUTION, f"{name}.tail")}
    for part, block in named_blocks.items():
        inner = _children(block, _BLOCK, f"{name}.{part}")
        if list(inner) != ["conv", "norm", "LeakyRelu"]:
            raise ArtefactError(f"{name}.{part} is not convolution, norm, LeakyReLU in this order")
        convolutions[f"{part}.conv"] = _check(inner["conv"], _CONVOLUTION, f"{name}.{part}.conv")
        state |= _tensors(_check(inner["norm"], _NORM, f"{name}.{part}.norm"), f"{part}.norm")
        _check(inner["LeakyRelu"], _ACTIVATION, f"{name}.{part}.LeakyRelu")
    for part, convolution in convolutions.items():
        state |= _tensors(convolution, part)
    return _Network(
        state,
        padding=_padding([each.state.get("padding") for each in convolutions.values()], name),
        layers=layers,
        width=state["head.conv.weight"].shape[0],
        forwards=int(state["head.norm.num_batches_tracked"]),
    )


def _padding(paddings: list[Any], name: str) -> Padding:
    if all(padding == (0, 0) for padding in paddings):
        return "valid"
    if all(padding == (1, 1) for padding in paddings):
        return "same"
    raise ArtefactError(f"{name} has an unsupported padding; supported: 0 or 1 pixel throughout")


def _check(record: Any, kind: str, name: str) -> Record:
    """`record`, if it is of `kind` and computes what our module of that kind does."""
    if not isinstance(record, Record) or record.kind != kind:
        raise ArtefactError(f"{name} is not a {kind.rpartition('.')[2]}")
    for attribute, supported in _SUPPORTED.get(kind, {}).items():
        value = record.state.get(attribute, supported)  # older torch lacks some attributes
        if value != supported:
            # not shown: the repr of a hostile value may be larger than memory
            raise ArtefactError(f"{name} has an unsupported {attribute}; supported: {supported!r}")
    return record


def _children(record: Any, kind: str, name: str) -> dict[str, Any]:
    children = _check(record, kind, name).state.get("_modules")
    if not isinstance(children, dict):
        raise ArtefactError(f"{name} has no modules inside it")
    return children


def _tensors(record: Record, prefix: str) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for collection in ("_parameters", "_buffers"):
        tensors = record.state.get(collection)
        if not isinstance(tensors, dict):
            raise ArtefactError(f"{prefix} has no {collection}")
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor):
                raise ArtefactError(f"{prefix}.{name} is not a tensor")
            named[f"{prefix}.{name}"] = tensor
    return named
