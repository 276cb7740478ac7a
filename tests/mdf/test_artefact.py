"""The artefact: what is written is read back, and nothing else is."""

import json

import pytest
import safetensors.torch
import torch

from mdf.artefact import Manifest, read_artefact, write_artefact
from mdf.errors import ArtefactError


def test_what_is_written_is_read_back(build_loss):
    manifest, discriminators = build_loss(padding="same", taps="every-relu", layers=4)
    content = write_artefact(manifest, discriminators)
    again, networks = read_artefact(content)
    assert again == manifest
    assert len(networks) == manifest.scales == 2
    image = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    for network, original in zip(networks, discriminators, strict=True):
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())
        assert torch.equal(network(image), original(image))
    assert write_artefact(again, networks) == content


def test_the_same_loss_has_the_same_bytes(build_loss):
    assert write_artefact(*build_loss(seed=1)) == write_artefact(*build_loss(seed=1))
    assert write_artefact(*build_loss(seed=1)) != write_artefact(*build_loss(seed=2))


def test_the_order_of_keys_does_not_change_the_bytes(build_loss):
    manifest, discriminators = build_loss()
    plain = manifest.to_dict()
    turned = Manifest.from_dict(dict(reversed(plain.items())))
    assert write_artefact(turned, discriminators) == write_artefact(manifest, discriminators)


def test_any_reader_of_safetensors_finds_tensors_and_manifest(build_loss, tmp_path):
    path = tmp_path / "loss.safetensors"
    path.write_bytes(write_artefact(*build_loss((4, 4, 6))))
    with safetensors.safe_open(path, "pt") as file:
        names = set(file.keys())
        manifest = json.loads(file.metadata()["mdf"])
    assert {"scales.0.head.conv.weight", "scales.2.body.2.norm.running_var"} <= names
    assert {"scales.1.tail.weight", "scales.1.tail.bias"} <= names
    assert manifest["widths"] == [4, 4, 6]
    assert manifest["format"] == 1


def test_reading_leaves_the_caller_s_random_numbers_alone(build_loss):
    content = write_artefact(*build_loss())
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    read_artefact(content)
    assert torch.equal(torch.rand(3), expected)


def damaged(content, *, manifest=None, **tensors):
    """The artefact with fields of its manifest and tensors replaced (None: removed)."""
    length = int.from_bytes(content[:8], "little")
    plain = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["mdf"])
    plain |= manifest or {}
    everything = safetensors.torch.load(content) | {
        name.replace("__", "."): tensor for name, tensor in tensors.items()
    }
    return safetensors.torch.save(
        {name: tensor for name, tensor in everything.items() if tensor is not None},
        metadata={"mdf": json.dumps(plain)},
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scales__1__tail__bias": None}, r"lacks the tensor scales\.1\.tail\.bias"),
        ({"scales__2__tail__bias": torch.zeros(1)}, r"unknown tensor 'scales\.2\.tail\.bias'"),
        ({"scales__0__extra": torch.zeros(1)}, r"unknown tensor 'scales\.0\.extra'"),
        ({"other": torch.zeros(1)}, "unknown tensor 'other'"),
        (
            {"scales__0__tail__weight": torch.zeros(1, 4, 5, 5)},
            r"scales\.0\.tail\.weight is torch\.float32 \(1, 4, 5, 5\); its manifest asks for "
            r"torch\.float32 \(1, 4, 3, 3\)",
        ),
        (
            {"scales__0__tail__bias": torch.zeros(1, dtype=torch.float16)},
            r"scales\.0\.tail\.bias is torch\.float16",
        ),
        (
            {"scales__0__tail__bias": torch.tensor([torch.nan])},
            r"scales\.0\.tail\.bias holds values that are not finite",
        ),
        (
            {"scales__1__head__norm__running_var": -torch.ones(6)},
            r"scales\.1\.head\.norm\.running_var holds negative variances",
        ),
    ],
)
def test_damaged_tensors_are_named(build_loss, change, message):
    content = damaged(write_artefact(*build_loss()), **change)
    with pytest.raises(ArtefactError, match=message):
        read_artefact(content)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", 2, "format is 2; this version of mdf reads format 1"),
        ("origin", "stolen", 'origin is \'stolen\'; it must be "trained" or "imported"'),
        ("widths", [], r"widths is \(\); it must be 1 to 32 whole numbers"),
        ("widths", [4, 10**9], "widths is .* from 1 to 1024"),
        ("widths", [4, True], "widths is"),
        ("widths", [4], "names 1 widths and 2 iterations"),
        ("layers", 2, "layers is 2; it must be a whole number from 3"),
        ("layers", 5.0, r"layers is 5\.0"),
        ("padding", "reflect", "padding is 'reflect'"),
        ("taps", ["head"], "taps is"),
        ("value_range", [1, 0], "value_range is"),
        ("value_range", [0, 10**400], "value_range is"),
        ("value_range", [0, float("nan")], "value_range is"),
        ("task", "jpeg", "task is 'jpeg'; it must be an object"),
        ("seeds", ["AB" * 32], "seeds is .* lower-case hexadecimal"),
        ("random_seed", -1, "random_seed is -1"),
        ("iterations", [1, -1], "iterations is"),
        ("software", {"torch": 2}, "software is"),
        ("colour", "blue", "unknown fields: 'colour'"),
    ],
)
def test_a_bad_field_of_the_manifest_is_named(build_loss, field, value, message):
    content = damaged(write_artefact(*build_loss()), manifest={field: value})
    with pytest.raises(ArtefactError, match=message):
        read_artefact(content)


def test_a_missing_field_of_the_manifest_is_named(build_loss):
    plain = build_loss()[0].to_dict()
    del plain["taps"]
    with pytest.raises(ArtefactError, match="the manifest lacks taps"):
        Manifest.from_dict(plain)


def test_every_truncation_is_refused(build_loss):
    content = write_artefact(*build_loss((2,)))
    for length in [*range(0, 40), *range(40, len(content), 97), len(content) - 1]:
        with pytest.raises(ArtefactError):
            read_artefact(content[:length])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated"),
        (b"\xff" * 64, "truncated"),
        ((20).to_bytes(8, "little") + b"{not json, really...}", "not JSON"),
        (b"\x10'" + bytes(6) + b"[" * 10000, "not JSON"),
        ((2).to_bytes(8, "little") + b"[]", 'no "mdf" manifest'),
        (safetensors.torch.save({"x": torch.zeros(1)}), 'no "mdf" manifest'),
        (safetensors.torch.save({"x": torch.zeros(1)}, metadata={"mdf": "{"}), "not JSON"),
        (
            safetensors.torch.save({"x": torch.zeros(1)}, metadata={"mdf": '{"a": "\\ud800"}'}),
            "not JSON: .*surrogates",
        ),
        (safetensors.torch.save({"x": torch.zeros(1)}, metadata={"mdf": "[]"}), "not a JSON obj"),
    ],
)
def test_other_files_are_refused(content, message):
    with pytest.raises(ArtefactError, match=message):
        read_artefact(content)


def test_a_header_that_lies_about_its_tensors_is_refused(build_loss):
    content = write_artefact(*build_loss((2,)))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["scales.0.tail.bias"]["data_offsets"] = [0, 1 << 40]
    text = json.dumps(header).encode()
    with pytest.raises(ArtefactError, match="not valid safetensors"):
        read_artefact(len(text).to_bytes(8, "little") + text + content[8 + length :])


def test_writing_refuses_what_could_not_be_read(build_loss):
    manifest, discriminators = build_loss()
    with pytest.raises(ArtefactError, match="holds 1 discriminators, its manifest names 2"):
        write_artefact(manifest, discriminators[:1])
    discriminators[0].tail.bias.data.fill_(torch.inf)
    with pytest.raises(ArtefactError, match=r"scales\.0\.tail\.bias holds values"):
        write_artefact(manifest, discriminators)


def test_a_manifest_that_is_not_json_is_refused(build_loss):
    manifest, _ = build_loss()
    plain = manifest.to_dict() | {"recipe": {"lr": float("nan")}}
    with pytest.raises(ArtefactError, match="does not fit in JSON"):
        Manifest.from_dict(plain).to_json()
