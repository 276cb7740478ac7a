"""The restorer artefact: what is written is read back, and nothing else is."""

import json

import pytest
import safetensors.torch
import torch

from models.restorers import Restorer, initialise
from services.errors import BadModelFileError
from services.restorers.artefact import RestorerManifest, read_restorer, write_restorer
from services.restorers.networks import NETWORK

NETWORKS = [
    {"kind": "edsr", "scale": 3, "blocks": 1, "width": 8},
    {"kind": "srresnet", "scale": 2, "blocks": 1, "width": 8},
    {"kind": "dncnn", "depth": 4, "width": 8},
    {"kind": "rrdbnet", "scale": 2, "blocks": 1, "width": 8, "growth": 4},
    {"kind": "zhao", "width": 8},
    {"kind": "srcnn", "widths": [8, 4]},
]


def restorer(network: dict = NETWORKS[2], seed: int = 0) -> tuple[RestorerManifest, Restorer]:
    built = NETWORK.validate_python(network).build()
    initialise(built, torch.Generator().manual_seed(seed))
    manifest = RestorerManifest(
        origin="trained",
        network=network,
        task={"kind": "jpeg", "quality": [7, 10]},
        loss={"kind": "mdf", "loss_id": "loss_1", "digest": "ab" * 32},
        dataset={"digest": "cd" * 32, "images": 400},
        recipe={"patch": 96, "schedule": {"kind": "constant"}},
        metrics={"psnr": 31.25},
        iterations=1200,
        random_seed=7,
        software={"torch": "2"},
    )
    return manifest, built.eval()


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["kind"])
def test_what_is_written_is_read_back(network):
    manifest, built = restorer(network)
    content = write_restorer(manifest, built)
    again, read = read_restorer(content)
    assert again == manifest
    assert again.spec == NETWORK.validate_python(network)
    assert not read.training
    assert not any(parameter.requires_grad for parameter in read.parameters())
    image = torch.rand(1, 3, 12, 16)
    assert torch.equal(read(image), built(image))
    assert write_restorer(again, read) == content


def test_the_same_restorer_has_the_same_bytes():
    assert write_restorer(*restorer(seed=1)) == write_restorer(*restorer(seed=1))
    assert write_restorer(*restorer(seed=1)) != write_restorer(*restorer(seed=2))


def test_a_manifest_names_every_hyperparameter_of_its_network():
    short, built = restorer({"kind": "dncnn"})
    assert short.network == {
        "kind": "dncnn",
        "channels": 3,
        "depth": 17,
        "width": 64,
        "batch_norm": True,
    }
    turned = RestorerManifest.from_dict(dict(reversed(short.to_dict().items())))
    assert write_restorer(turned, built) == write_restorer(short, built)


def test_any_reader_of_safetensors_finds_tensors_and_manifest(tmp_path):
    path = tmp_path / "restorer.safetensors"
    path.write_bytes(write_restorer(*restorer()))
    with safetensors.safe_open(path, "pt") as file:
        assert {"model.0.weight", "model.3.running_var", "model.8.bias"} <= set(file.keys())
        manifest = json.loads(file.metadata()["mdf-restorer"])
    assert manifest["network"]["depth"] == 4
    assert manifest["dataset"] == {"digest": "cd" * 32, "images": 400}


def test_reading_leaves_the_caller_s_random_numbers_alone():
    content = write_restorer(*restorer())
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    read_restorer(content)
    assert torch.equal(torch.rand(3), expected)


def damaged(manifest: dict | None = None, **tensors) -> bytes:
    content = write_restorer(*restorer())
    length = int.from_bytes(content[:8], "little")
    plain = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["mdf-restorer"])
    plain |= manifest or {}
    everything = safetensors.torch.load(content) | {
        name.replace("__", "."): tensor for name, tensor in tensors.items()
    }
    return safetensors.torch.save(
        {name: tensor for name, tensor in everything.items() if tensor is not None},
        metadata={"mdf-restorer": json.dumps(plain)},
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model__0__bias": None}, r"lacks the tensor model\.0\.bias"),
        ({"other": torch.zeros(1)}, "unknown tensor 'other'"),
        (
            {"model__0__weight": torch.zeros(8, 1, 3, 3)},
            r"model\.0\.weight is torch\.float32 \(8, 1, 3, 3\); its network asks for "
            r"torch\.float32 \(8, 3, 3, 3\)",
        ),
        ({"model__0__bias": torch.zeros(8).half()}, r"model\.0\.bias is torch\.float16"),
        ({"model__0__bias": torch.full((8,), torch.nan)}, r"model\.0\.bias .* not finite"),
        ({"model__3__running_var": -torch.ones(8)}, "negative variances"),
    ],
)
def test_damaged_tensors_are_named(change, message):
    with pytest.raises(BadModelFileError, match=message):
        read_restorer(damaged(**change))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", 2, "format is 2; this version reads format 1"),
        ("origin", "stolen", "origin is 'stolen': Input should be 'trained' or 'imported'"),
        (
            "network",
            {"kind": "unet"},
            "network is .*'unet' found .*'edsr', 'srresnet'",
        ),
        ("network", {"kind": "dncnn", "depth": 2}, r"network\.dncnn\.depth is 2"),
        ("network", {"kind": "dncnn", "colour": 2}, r"network\.dncnn\.colour is 2"),
        ("task", "jpeg", "task is 'jpeg'"),
        ("iterations", -1, "iterations is -1"),
        ("iterations", True, "iterations is True"),
        ("random_seed", 0.5, r"random_seed is 0\.5"),
        ("software", {"torch": 2}, r"software\.torch is 2"),
        ("colour", "blue", "colour is 'blue': Extra inputs are not permitted"),
    ],
)
def test_a_bad_field_of_the_manifest_is_named(field, value, message):
    with pytest.raises(BadModelFileError, match=message):
        read_restorer(damaged({field: value}))


def test_a_missing_field_of_the_manifest_is_named():
    plain = restorer()[0].to_dict()
    del plain["dataset"]
    with pytest.raises(BadModelFileError, match="the manifest lacks dataset"):
        RestorerManifest.from_dict(plain)


def test_a_value_that_json_has_not_is_refused():
    with pytest.raises(BadModelFileError, match=r"metrics\.psnr.* is inf"):
        RestorerManifest(origin="trained", network={"kind": "zhao"}, metrics={"psnr": torch.inf})


def test_every_truncation_is_refused():
    content = write_restorer(*restorer())
    for length in [*range(0, 40), *range(40, len(content), 297), len(content) - 1]:
        with pytest.raises(BadModelFileError):
            read_restorer(content[:length])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated"),
        (b"x" * 64, "truncated"),
        (safetensors.torch.save({"x": torch.zeros(1)}), 'no "mdf-restorer" manifest'),
        (
            safetensors.torch.save({"x": torch.zeros(1)}, metadata={"mdf-restorer": "{"}),
            "not JSON",
        ),
        (
            safetensors.torch.save({"x": torch.zeros(1)}, metadata={"mdf-restorer": "[]"}),
            "not a JSON object",
        ),
    ],
)
def test_other_files_are_refused(content, message):
    with pytest.raises(BadModelFileError, match=message):
        read_restorer(content)


def test_writing_refuses_what_could_not_be_read():
    manifest, built = restorer()
    with torch.no_grad():
        built.model[0].bias.fill_(torch.inf)
    with pytest.raises(BadModelFileError, match=r"model\.0\.bias holds values"):
        write_restorer(manifest, built)
    other, _ = restorer(NETWORKS[4])
    with pytest.raises(BadModelFileError, match=r"lacks the tensor conv1\.bias"):
        write_restorer(other, built)
