"""Public checkpoints: the names of their releases load unchanged, and bad files are told why."""

import io
import itertools
import json
import zipfile

import pytest
import safetensors.torch
import torch
from torch import nn

from models.restorers import create, initialise
from services.errors import BadModelFileError
from services.restorers.artefact import METADATA_KEY, read_restorer, write_restorer
from services.restorers.importing import convert, read
from services.restorers.manifest import RestorerManifest
from services.restorers.networks import NETWORK


def pth(value) -> bytes:
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict of these names, as a training would have left it."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        state[name] = 0.1 * torch.randn(shape, generator=generator)
        if name.endswith("running_var"):
            state[name] = 0.01 + torch.rand(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
    return state


def conv(name, outputs, inputs, side=3, bias=True):
    return {f"{name}.weight": (outputs, inputs, side, side)} | (
        {f"{name}.bias": (outputs,)} if bias else {}
    )


def norm(name, width):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def fingerprint(tensor: torch.Tensor) -> tuple[tuple[int, ...], bytes]:
    return tuple(tensor.shape), tensor.numpy().tobytes()


# The lists of names are written from the published files, not from our classes.


def edsr_names(scale, blocks, width):
    names = {"sub_mean.weight": (3, 3, 1, 1), "sub_mean.bias": (3,)}
    names |= {"add_mean.weight": (3, 3, 1, 1), "add_mean.bias": (3,)}
    names |= conv("head.0", width, 3)
    for block in range(blocks):
        names |= conv(f"body.{block}.body.0", width, width)
        names |= conv(f"body.{block}.body.2", width, width)
    names |= conv(f"body.{blocks}", width, width)
    names |= conv("tail.0.0", width * (9 if scale == 3 else 4), width)
    if scale == 4:
        names |= conv("tail.0.2", width * 4, width)
    return names | conv("tail.1", 3, width)


def srresnet_names(scale, blocks, width):
    names = conv("conv1.0", width, 3, 9) | {"conv1.1.weight": (1,)}
    for block in range(blocks):
        stem = f"trunk.{block}.rcb"
        names |= conv(f"{stem}.0", width, width, bias=False) | norm(f"{stem}.1", width)
        names |= {f"{stem}.2.weight": (1,)}
        names |= conv(f"{stem}.3", width, width, bias=False) | norm(f"{stem}.4", width)
    names |= conv("conv2.0", width, width, bias=False) | norm("conv2.1", width)
    for step in range(2 if scale == 4 else 1):
        stem = f"upsampling.{step}.upsample_block"
        names |= conv(f"{stem}.0", width * (9 if scale == 3 else 4), width)
        names |= {f"{stem}.2.weight": (1,)}
    return names | conv("conv3", 3, width, 9)


def msrresnet_names(scale, blocks, width, body="body", high="conv_hr"):
    names = conv("conv_first", width, 3)
    for block, layer in itertools.product(range(blocks), (1, 2)):
        names |= conv(f"{body}.{block}.conv{layer}", width, width)
    names |= conv("upconv1", width * (9 if scale == 3 else 4), width)
    if scale == 4:
        names |= conv("upconv2", width * 4, width)
    return names | conv(high, width, width) | conv("conv_last", 3, width)


def dncnn_names(depth, channels, width, batch_norm):
    names = conv("model.0", width, channels)
    number = 2
    for _ in range(depth - 2):
        names |= conv(f"model.{number}", width, width)
        if batch_norm:
            names |= norm(f"model.{number + 1}", width)
        number += 3 if batch_norm else 2
    return names | conv(f"model.{number}", channels, width)


def rrdbnet_names(style, scale, blocks, width=8, growth=4, channels=3):
    fold = {4: 1, 2: 4, 1: 16}[scale]
    trunk, dense, end, up1, up2, high = {
        "ESRGAN": ("RRDB_trunk.{}", "RDB{}", "trunk_conv", "upconv1", "upconv2", "HRconv"),
        "BasicSR": ("body.{}", "rdb{}", "conv_body", "conv_up1", "conv_up2", "conv_hr"),
        "first": ("model.1.sub.{}", "RDB{}", "", "model.3", "model.6", "model.8"),
    }[style]
    first = style == "first"
    end = end or trunk.format(blocks)
    names = conv("model.0" if first else "conv_first", width, channels * fold)
    for block, number, layer in itertools.product(range(blocks), (1, 2, 3), range(1, 6)):
        stem = f"{trunk.format(block)}.{dense.format(number)}.conv{layer}"
        outputs = width if layer == 5 else growth
        names |= conv(f"{stem}.0" if first else stem, outputs, width + (layer - 1) * growth)
    for name in (end, up1, up2, high):
        names |= conv(name, width, width)
    return names | conv("model.10" if first else "conv_last", channels, width)


PUBLIC = {
    "EDSR baseline ×4": (
        edsr_names(4, 16, 64),
        {"kind": "edsr", "scale": 4, "blocks": 16, "width": 64, "residual_scale": 1.0},
    ),
    "EDSR ×2": (edsr_names(2, 3, 8), {"kind": "edsr", "scale": 2, "blocks": 3, "width": 8}),
    "EDSR ×3": (edsr_names(3, 1, 8), {"kind": "edsr", "scale": 3, "blocks": 1, "width": 8}),
    "EDSR full width": (
        edsr_names(2, 1, 256),
        {"kind": "edsr", "scale": 2, "blocks": 1, "width": 256, "residual_scale": 0.1},
    ),
    "SRResNet ×4": (
        srresnet_names(4, 16, 64),
        {"kind": "srresnet", "scale": 4, "blocks": 16, "width": 64},
    ),
    "SRResNet ×3": (
        srresnet_names(3, 1, 8),
        {"kind": "srresnet", "scale": 3, "blocks": 1, "width": 8},
    ),
    "SRResNet ×2": (
        srresnet_names(2, 2, 8),
        {"kind": "srresnet", "scale": 2, "blocks": 2, "width": 8},
    ),
    "MSRResNet ×4": (
        msrresnet_names(4, 16, 64),
        {"kind": "msrresnet", "scale": 4, "blocks": 16, "width": 64},
    ),
    "MSRResNet ×3": (
        msrresnet_names(3, 2, 8),
        {"kind": "msrresnet", "scale": 3, "blocks": 2, "width": 8},
    ),
    "MSRResNet ×2, older": (
        msrresnet_names(2, 1, 8, "recon_trunk", "HRconv"),
        {"kind": "msrresnet", "scale": 2, "blocks": 1, "width": 8},
    ),
    "dncnn_25": (
        dncnn_names(17, 1, 64, batch_norm=False),
        {"kind": "dncnn", "channels": 1, "depth": 17, "width": 64, "batch_norm": False},
    ),
    "dncnn_color_blind": (
        dncnn_names(20, 3, 64, batch_norm=False),
        {"kind": "dncnn", "channels": 3, "depth": 20, "width": 64, "batch_norm": False},
    ),
    "DnCNN with BatchNorm": (
        dncnn_names(17, 3, 64, batch_norm=True),
        {"kind": "dncnn", "channels": 3, "depth": 17, "width": 64, "batch_norm": True},
    ),
    "ESRGAN": (
        rrdbnet_names("ESRGAN", 4, 23, 64, 32),
        {"kind": "rrdbnet", "scale": 4, "channels": 3, "blocks": 23, "width": 64, "growth": 32},
    ),
    "ESRGAN, first release": (
        rrdbnet_names("first", 4, 3),
        {"kind": "rrdbnet", "scale": 4, "channels": 3, "blocks": 3, "width": 8, "growth": 4},
    ),
    "Real-ESRGAN ×4": (
        rrdbnet_names("BasicSR", 4, 2),
        {"kind": "rrdbnet", "scale": 4, "channels": 3, "blocks": 2, "width": 8, "growth": 4},
    ),
    "Real-ESRGAN ×2": (
        rrdbnet_names("BasicSR", 2, 1),
        {"kind": "rrdbnet", "scale": 2, "channels": 3, "blocks": 1, "width": 8, "growth": 4},
    ),
    "Real-ESRGAN ×1, grey": (
        rrdbnet_names("BasicSR", 1, 1, channels=1),
        {"kind": "rrdbnet", "scale": 1, "channels": 1, "blocks": 1, "width": 8, "growth": 4},
    ),
}


@pytest.mark.parametrize("release", PUBLIC)
def test_a_public_checkpoint_is_recognised_by_its_names(release):
    names, expected = PUBLIC[release]
    state = tensors(names)
    if "sub_mean.bias" in state:
        state["sub_mean.bias"] *= 255
    manifest, network = read(pth(state))
    assert manifest.origin == "imported"
    assert manifest.network == NETWORK.validate_python(expected).model_dump(mode="json")
    kept = network.state_dict().values()
    assert sorted(map(fingerprint, kept)) == sorted(map(fingerprint, state.values()))


@pytest.mark.parametrize(
    "release",
    [
        "EDSR baseline ×4",
        "SRResNet ×4",
        "MSRResNet ×4",
        "dncnn_25",
        "DnCNN with BatchNorm",
        "ESRGAN",
    ],
)
def test_the_names_of_the_release_are_ours_unchanged(release):
    names, network = PUBLIC[release]
    with torch.device("meta"):
        state = NETWORK.validate_python(network).build().state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == names


def test_both_namings_of_rrdbnet_give_one_network():
    image = torch.rand(1, 3, 6, 7)
    results = []
    for style in ("ESRGAN", "BasicSR", "first"):
        state = tensors(rrdbnet_names(style, 4, 2))
        _, network = read(pth(state))
        results.append(network(image))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


OURS = [
    {"kind": "edsr", "scale": 4, "blocks": 2, "width": 8, "value_range": 1},
    {"kind": "edsr", "scale": 3, "blocks": 1, "width": 8},
    {"kind": "srresnet", "scale": 4, "blocks": 1, "width": 8},
    {"kind": "msrresnet", "scale": 3, "blocks": 1, "width": 8, "channels": 1},
    {"kind": "dncnn", "depth": 5, "width": 8, "channels": 1},
    {"kind": "dncnn", "depth": 3, "width": 8, "batch_norm": False},
    {"kind": "rrdbnet", "scale": 2, "blocks": 2, "width": 8, "growth": 4},
    {"kind": "zhao", "width": 8},
    {"kind": "srcnn", "widths": [8, 4], "channels": 1, "middle_kernel": 3},
]


def build(network):
    built = create(**network)
    initialise(built, torch.Generator().manual_seed(0))
    return built.eval()


@pytest.mark.parametrize("network", OURS, ids=str)
@pytest.mark.parametrize("save", [pth, safetensors.torch.save], ids=["pth", "safetensors"])
def test_a_network_s_state_dict_is_recognised_with_its_hyperparameters(network, save):
    built = build(network)
    manifest, again = read(save(built.state_dict()))
    assert manifest.network == {"kind": network["kind"]} | built.hyperparameters
    image = torch.rand(1, built.channels, 6, 8)
    assert torch.equal(again(image), built(image))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"params_ema": state, "params": {}},
        lambda state: {"params": state},
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {}}},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"params": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {name: tensor.half().float() for name, tensor in state.items()},
        lambda state: {name: nn.Parameter(tensor) for name, tensor in state.items()},
        lambda state: {
            name: tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
            for name, tensor in state.items()
        },
    ],
)
def test_what_trainings_wrap_around_the_weights_is_taken_off(wrap):
    network = build({"kind": "zhao", "width": 4})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half())
    _, again = read(pth(wrap(network.state_dict())))
    image = torch.rand(1, 3, 6, 8)
    assert torch.equal(again(image), network(image))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype):
    network = build({"kind": "zhao", "width": 4})
    state = {name: tensor.to(dtype) for name, tensor in network.state_dict().items()}
    _, again = read(safetensors.torch.save(state))
    for name, tensor in again.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[name].to(torch.float32))


def reference_dncnn(depth, width, *, first_bias, epsilon):
    """DnCNN as the PyTorch trainings have it: no biases, or one in the first layer."""
    layers = [nn.Conv2d(1, width, 3, padding=1, bias=first_bias), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(width, eps=epsilon), nn.ReLU()]
    layers.append(nn.Conv2d(width, 1, 3, padding=1, bias=False))
    network = nn.Module()
    network.dncnn = nn.Sequential(*layers)
    state = tensors({name: tuple(value.shape) for name, value in network.state_dict().items()})
    state = {
        name: tensor * 1e-3 if name.endswith("running_var") else tensor
        for name, tensor in state.items()
    }
    network.load_state_dict(state)
    return network.eval()


@pytest.mark.parametrize(("first_bias", "epsilon"), [(False, 1e-5), (True, 1e-4)])
def test_a_dncnn_without_biases_computes_what_it_did(first_bias, epsilon):
    theirs = reference_dncnn(4, 8, first_bias=first_bias, epsilon=epsilon)
    state = {f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}
    manifest, ours = read(pth(state))
    assert manifest.network["batch_norm"] is True
    image = torch.rand(1, 1, 9, 9)
    torch.testing.assert_close(ours(image), image - theirs.dncnn(image), atol=1e-5, rtol=1e-4)


def test_an_srcnn_with_relu_computes_what_it_did():
    names = conv("conv1", 8, 1, 9) | conv("conv2", 4, 8, 5) | conv("conv3", 1, 4, 5)
    state = tensors(names)
    manifest, network = read(pth(state))
    assert manifest.network["middle_kernel"] == 5
    image = torch.rand(1, 1, 9, 9)
    x = image
    for layer, padding in ((1, 4), (2, 2), (3, 2)):
        x = nn.functional.conv2d(
            x, state[f"conv{layer}.weight"], state[f"conv{layer}.bias"], padding=padding
        )
        x = x.relu() if layer < 3 else x
    torch.testing.assert_close(network(image), x)


def test_an_edsr_without_its_constants_gets_them():
    state = build({"kind": "edsr", "scale": 2, "blocks": 1, "width": 8}).state_dict()
    bare = {name: tensor for name, tensor in state.items() if "_mean" not in name}
    _, network = read(pth(bare))
    assert network.sub_mean.bias.tolist() == pytest.approx([-114.444, -111.4605, -103.02])
    assert torch.equal(network.add_mean.bias, -network.sub_mean.bias)


def test_the_newer_srresnet_has_its_last_layer_in_a_list():
    state = tensors(srresnet_names(4, 1, 8))
    for part in ("weight", "bias"):
        state[f"conv3.0.{part}"] = state.pop(f"conv3.{part}")
    assert read(pth(state))[0].network["kind"] == "srresnet"


def test_a_hyperparameter_that_no_tensor_tells_may_be_given():
    content = pth(build({"kind": "edsr", "scale": 2, "blocks": 1, "width": 8}).state_dict())
    manifest, network = read(content, {"residual_scale": 0.5}, {"kind": "sisr"})
    assert manifest.network["residual_scale"] == network.body[0].scale == 0.5
    assert manifest.task == {"kind": "sisr"}
    with pytest.raises(BadModelFileError, match="a network of the kind edsr, not dncnn"):
        read(content, {"kind": "dncnn"})
    with pytest.raises(BadModelFileError, match=r"network\.edsr\.colour"):
        read(content, {"colour": 3})


def test_our_own_file_is_read_as_it_is():
    network = build(OURS[4])
    manifest = RestorerManifest(
        origin="trained", network=OURS[4], iterations=7, metrics={"psnr": 30.0}
    )
    content = write_restorer(manifest, network)
    again, _ = read(content)
    assert again == manifest
    told, _ = read(content, task={"kind": "denoising", "sigma": 25})
    assert told.task == {"kind": "denoising", "sigma": 25}
    assert told.to_dict() | {"task": {}} == manifest.to_dict()


@pytest.mark.slow
def test_an_import_is_offered_in_every_format(tmp_path):
    source, folder = tmp_path / "given.pth", tmp_path / "made"
    source.write_bytes(pth(tensors(rrdbnet_names("BasicSR", 4, 1))))
    folder.mkdir()
    converted = convert(source, folder, None, {"kind": "sisr"})
    assert {file.name for file in folder.iterdir()} == {"safetensors", "onnx", "pt2"}
    manifest, network = read_restorer((folder / "safetensors").read_bytes())
    assert manifest.to_dict() == converted
    assert manifest.origin == "imported"
    assert network.scale == 4


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def packed() -> bytes:
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(pth(tensors(conv("conv1", 8, 3))))) as plain,
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for member in plain.infolist():
            archive.writestr(member.filename, plain.read(member))
        archive.writestr("archive/data/bomb", bytes(1 << 22))
    return content.getvalue()


def zhao(**changes):
    state = build({"kind": "zhao", "width": 4}).state_dict()
    changed = state | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    return {name: tensor for name, tensor in changed.items() if tensor is not None}


def in_itself():
    wrapper = {}
    wrapper["state_dict"] = wrapper
    return wrapper


def ours(**changes):
    network = {"kind": "zhao", "width": 4}
    manifest = RestorerManifest(origin="imported", network=network).to_dict() | changes
    return safetensors.torch.save(zhao(), metadata={METADATA_KEY: json.dumps(manifest)})


HEAD, BODY = torch.zeros(4, 3, 3, 3), torch.zeros(4, 4, 3, 3)


def edsr(**changes):
    named = {"head.0": HEAD, "body.0.body.0": BODY, "tail.0.0": torch.zeros(16, 4, 3, 3)}
    state = {f"{name}.weight": tensor for name, tensor in named.items()}
    return state | {name.replace("__", "."): tensor for name, tensor in changes.items()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a model: it begins with b''"),
        (b"\x89PNG\r\n\x1a\n", "begins with .* known are safetensors and .pth"),
        (pth(zhao())[:-300], "truncated or damaged"),
        (pth(zhao())[:300], "truncated or damaged"),
        (safetensors.torch.save(zhao())[:-7], "not valid safetensors"),
        (safetensors.torch.save(zhao())[:50], "truncated"),
        (pth({"state_dict": Evil()}), r"holds more than tensors.*state_dict\(\) alone.*print"),
        (pth(nn.Conv2d(3, 3, 3)), "holds more than tensors.*Conv2d"),
        (packed(), "it is packed, which torch.save never does"),
        (pth([1, 2]), "no state dict but list"),
        (pth({}), "no state dict but dict"),
        (pth({"epoch": 3, "net": zhao()}), r"'epoch', 'net' are no tensors; .*params_ema"),
        (pth(tensors(conv("backbone.stem", 8, 3))), "'backbone.stem.weight', .* known are EDSR"),
        (pth(zhao(conv2__bias=None)), r"lacks the tensor conv2\.bias"),
        (pth(zhao(conv1__bias=torch.zeros(5))), r"conv1\.bias is torch\.float32 \(5,\)"),
        (pth(zhao(conv1__bias=torch.full((4,), torch.inf))), r"conv1\.bias holds values that"),
        (pth(zhao(conv1__bias=torch.zeros(1).expand(1 << 30))), "tensors claim 4294"),
        (pth(dncnn_names(5, 3, 8, batch_norm=False)), "are no tensors"),
        (pth(tensors(dncnn_names(70, 3, 4, batch_norm=False))), r"depth is 70: .* equal to 64"),
        (pth(tensors(rrdbnet_names("ESRGAN", 4, 1) | conv("conv_first", 8, 6))), "scale is 0"),
        # a network of noise maps: one channel more goes in than comes out
        (
            pth(tensors(dncnn_names(4, 3, 8, batch_norm=False) | conv("model.0", 8, 4))),
            r"model\.0\.weight is .* \(8, 4, 3, 3\); its network asks for .* \(8, 3, 3, 3\)",
        ),
        (pth(in_itself()), "no state dict: 'state_dict' are no tensors"),
        (pth(zhao(conv1__bias=torch.zeros(4).to_sparse())), "'conv1.bias' are sparse"),
        (pth(zhao(conv1__bias=torch.empty(4, device="meta"))), "'conv1.bias' are sparse"),
        (pth(edsr(head__0__weight=torch.zeros(()))), "names of edsr, and shapes or types"),
        (pth(edsr(tail__0__0__weight=torch.zeros(4, 0, 3, 3))), "names of edsr, and shapes"),
        (pth(edsr(tail__0__0__weight=torch.zeros(4))), "names of edsr, and shapes"),
        (pth(edsr(sub_mean__bias=torch.zeros(0))), "names of edsr, and shapes"),
        (ours(software={"torch": "\ud800"}), "manifest is not JSON: .*surrogates"),
        (ours(task={"\udc00": 1}), "manifest is not JSON: .*surrogates"),
        (ours(task={"note": "x" * (1 << 21)}), "manifest has .* at most 2097152"),
    ],
    ids=range(31),
)
def test_a_bad_file_is_told_what_is_wrong_with_it(content, message, capfd):
    with pytest.raises(BadModelFileError, match=message):
        read(content)
    assert "executed" not in capfd.readouterr().out
