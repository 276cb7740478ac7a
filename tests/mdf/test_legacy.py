"""The reader of published weights: it reads modules and executes nothing."""

import functools
import importlib
import io
import os
import pickle
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

import mdf
from mdf import pickles
from mdf.errors import ArtefactError
from mdf.legacy import CLASSES, read_published


@pytest.fixture
def singan(monkeypatch):
    """Classes under the names that the authors' files mention, written for this test."""
    module = types.ModuleType("SinGAN.models")

    class ConvBlock(nn.Sequential):
        def __init__(self, inner, width, padding):
            super().__init__()
            self.add_module("conv", nn.Conv2d(inner, width, 3, padding=padding))
            self.add_module("norm", nn.BatchNorm2d(width))
            self.add_module("LeakyRelu", nn.LeakyReLU(0.2))

    class WDiscriminator(nn.Module):
        def __init__(self, width=4, padding=0, blocks=3):
            super().__init__()
            self.is_cuda = True
            self.head = ConvBlock(3, width, padding)
            self.body = nn.Sequential()
            for i in range(blocks):
                self.body.add_module(f"block{i + 1}", ConvBlock(width, width, padding))
            self.tail = nn.Conv2d(width, 1, 3, padding=padding)

        def forward(self, x):
            return self.tail(self.body(self.head(x)))

    for each in (ConvBlock, WDiscriminator):
        each.__module__ = "SinGAN.models"
        each.__qualname__ = each.__name__
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, "SinGAN", types.ModuleType("SinGAN"))
    monkeypatch.setitem(sys.modules, "SinGAN.models", module)
    return module


def trained(network, forwards=12):
    network.train()
    for _ in range(forwards):
        network(torch.rand(2, 3, 24, 24))
    return network.eval()


def saved(value, *, archive):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=archive)
    return file.getvalue()


both_formats = pytest.mark.parametrize("archive", [False, True], ids=["stream", "zip"])


@both_formats
@pytest.mark.parametrize(("padding", "name"), [(0, "valid"), (1, "same")])
def test_whole_modules_are_read_as_the_networks_they_are(singan, archive, padding, name):
    originals = [
        trained(singan.WDiscriminator(4, padding), 24),
        trained(singan.WDiscriminator(6, padding), 36),
    ]
    manifest, networks = read_published(saved(originals, archive=archive), task={"kind": "sisr"})
    assert manifest.widths == (4, 6)
    assert manifest.padding == name
    assert manifest.iterations == (2, 3)
    assert (manifest.origin, manifest.value_range) == ("imported", (0.0, 1.0))
    assert (manifest.taps, manifest.layers, manifest.task) == ("published", 5, {"kind": "sisr"})
    image = torch.rand(1, 3, 20, 20)
    for original, network in zip(originals, networks, strict=True):
        torch.testing.assert_close(network(image), original(image))


@both_formats
def test_load_loss_takes_them(singan, archive, tmp_path):
    path = tmp_path / "a loss.pth"
    path.write_bytes(saved([trained(singan.WDiscriminator(4, blocks=1))], archive=archive))
    loss = mdf.load_loss(path)
    assert loss.manifest.layers == 3
    assert loss(torch.zeros(1, 3, 20, 20), torch.ones(1, 3, 20, 20)).item() > 0


def test_the_first_eight_of_nine_are_used_and_the_manifest_says_so(singan):
    networks = [singan.WDiscriminator(2 + k) for k in range(9)]
    manifest, read = read_published(saved(networks, archive=False))
    assert manifest.widths == tuple(range(2, 10))
    assert len(read) == 8
    assert manifest.recipe["note"].endswith("the first 8 of 9 discriminators")


def test_a_scale_that_carries_on_the_one_before_counts_its_own_iterations(singan):
    counts = (36, 72, 12)
    networks = [trained(singan.WDiscriminator(4), count) for count in counts]
    assert read_published(saved(networks, archive=True))[0].iterations == (3, 3, 1)


def test_the_published_file_is_what_its_paper_says(published):
    manifest, networks = read_published(published)
    assert manifest.widths == (32, 32, 32, 32, 64, 64, 64, 64)
    assert manifest.iterations == (3000,) * 8
    assert (manifest.padding, manifest.layers) == ("valid", 5)
    assert [network.width for network in networks] == list(manifest.widths)


@both_formats
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: setattr(n.tail, "stride", (2, 2)), r"scales\.0\.tail has an unsupported stride"),
        (lambda n: setattr(n.head.conv, "dilation", (2, 2)), "unsupported dilation"),
        (lambda n: setattr(n.head.conv, "padding", (2, 2)), "unsupported padding"),
        (lambda n: setattr(n.head.norm, "eps", 1e-3), "unsupported eps"),
        (lambda n: setattr(n.head.LeakyRelu, "negative_slope", 0.1), "unsupported negative_slope"),
        (lambda n: n.body.pop(0) and n.body.pop(0) and n.body.pop(0), "has 2 convolutions"),
        (lambda n: setattr(n, "tail", nn.Sequential()), r"scales\.0\.tail is not a Conv2d"),
        (lambda n: delattr(n, "head"), r"scales\.0\.head is not a ConvBlock"),
        (lambda n: setattr(n.tail, "bias", None), r"tail\.bias is not a tensor"),
        (lambda n: setattr(n.tail, "weight", nn.Parameter(torch.zeros(1, 9, 3, 3))), "asks for"),
        (lambda n: n.tail.bias.data.fill_(torch.nan), "not finite"),
    ],
)
def test_networks_unlike_the_published_are_refused(singan, archive, change, message):
    network = singan.WDiscriminator()
    change(network)
    with pytest.raises(ArtefactError, match=message):
        read_published(saved([network], archive=archive))


@both_formats
@pytest.mark.parametrize("value", [{}, [], [1], torch.zeros(3), [torch.zeros(1)], [[]]])
def test_other_contents_are_refused(value, archive):
    with pytest.raises(ArtefactError):
        read_published(saved(value, archive=archive))


class Attack:
    """Pickles as a call; `reached` is where it would leave its mark."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def attacks(mark):
    """Pickles that would make `mark`, or run foreign code, by the name that gives them away."""
    command, code = f"touch '{mark}'", f"open({str(mark)!r}, 'w').close()"
    os_module = Attack(importlib.import_module, "os")
    return {
        "system": Attack(os.system, command),
        "eval": Attack(eval, code),
        "exec": Attack(exec, code),
        "Popen": Attack(subprocess.Popen, ["touch", str(mark)]),
        "getattr": Attack(getattr, os_module, "system"),
        "load": Attack(torch.load, str(mark)),
        "_load_from_bytes": Attack(torch.storage._load_from_bytes, b"x"),
        "partial": Attack(functools.partial, os.system, command),
    }


@both_formats
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", sorted(attacks(Path("mark"))))
def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path, name, protocol, archive):
    mark = tmp_path / "reached"
    file = io.BytesIO()
    torch.save(
        [attacks(mark)[name]],
        file,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=archive,
    )
    with pytest.raises(ArtefactError, match=rf"names '[\w.]+\.{name}', which is refused"):
        mdf.load_loss(file.getvalue())
    assert not mark.exists()


def test_a_plain_pickle_is_refused_too(tmp_path):
    mark = tmp_path / "reached"
    with pytest.raises(ArtefactError, match=r"system', which is refused"):
        mdf.load_loss(pickle.dumps(attacks(mark)["system"]))
    assert not mark.exists()


def as_stream(pickled):
    """A stream of torch.save whose object is the pickle given."""
    head = (pickles.LEGACY_MAGIC, pickles.LEGACY_PROTOCOL, {"little_endian": True})
    return b"".join(pickle.dumps(part, 2) for part in head) + pickled + pickle.dumps([], 2)


def as_archive(pickled):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
    return file.getvalue()


RAW = {
    b"\x80\x02cos\nsystem\n.": r"names 'os\.system'",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93.": r"names 'os\.system'",
    b"\x80\x04\x8c\x05torch\x8c\x0b_utils.eval\x93.": r"names 'torch\._utils\.eval'",
    b"\x80\x02ctorch.nn.modules.conv\nConv2d\n)R.": r"calls torch\.nn\.modules\.conv\.Conv2d",
    b"\x80\x02ctorch._utils\n_rebuild_parameter\n)\x81.": "builds an object in a way",
    b"\x80\x02ccollections\nOrderedDict\n}b.": "sets attributes of what is not a module",
    b"\x80\x02ccollections\nOrderedDict\n)R}b.": "does not hold a list",
    b"\x80\x02]]R.": "calls list, which is refused",
    b"(S'x'\nios\nsystem\n.": "instruction that is refused: STRING",
    b"\x80\x02(ios\nsystem\n.": "instruction that is refused: INST",
    b"\x80\x02\x82\x01.": "instruction that is refused: EXT1",
    b"\x80\x022.": "instruction that is refused: DUP",
    b"\x80\x02K\x01Q.": "neither module nor storage",
    b"\x80\x02}K\x01K\x02s.": "keys are not texts",
    b"\x80\x02)K\x01a.": "appended to what is not a list",
    b"\x80\x02a.": "lacks its operands",
    b"\x80\x02.": "damaged",
    b"\x80\x02h\x05.": "damaged",
    b"\x80\x02u.": "damaged",
    b"\x80\x02": "damaged|truncated",
    b"\x80\x02]]]": "damaged|truncated",
}


@pytest.mark.parametrize("wrap", [as_stream, as_archive])
@pytest.mark.parametrize("raw", RAW, ids=repr)
def test_hand_made_pickles_are_refused(raw, wrap):
    # A stream reads on behind the pickle, and may find the file damaged before it is refused.
    message = RAW[raw] if wrap is as_archive else None
    with pytest.raises(ArtefactError, match=message):
        read_published(wrap(raw))


def reference(numbers, *, key="0", kind="FloatStorage"):
    """Instructions for a storage, ending in BINPERSID."""
    text = lambda t: b"X" + len(t).to_bytes(4, "little") + t.encode()  # noqa: E731
    name = b"ctorch\n" + kind.encode() + b"\n"
    size = b"\x8a\x08" + numbers.to_bytes(8, "little", signed=True)
    return b"(" + text("storage") + name + text(key) + text("cpu") + size + b"NtQ"


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02" + reference(1 << 40) + b".", "more than the file holds"),
        (b"\x80\x02" + reference(-1) + b".", "more than the file holds"),
        (
            b"\x80\x02]" + b"".join(reference(40, key=str(k)) + b"a" for k in range(99)) + b".",
            "more than the file holds",
        ),
        (b"\x80\x02]" + reference(2) + b"a" + reference(3) + b"a.", "in two ways"),
        (b"\x80\x02" + b"]" * (pickles.MAX_INSTRUCTIONS + 1) + b".", "more than 1000000 instr"),
    ],
    ids=["huge", "negative", "many", "two sizes", "long"],
)
def test_memory_is_bounded_by_the_file(pickled, message):
    with pytest.raises(ArtefactError, match=message):
        pickles.load(as_stream(pickled))


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [(0, (5,), (1,)), (1, (4,), (1,)), (0, (2, 2), (1, 4)), (0, (9, 9), (0, 0)), (-1, (1,), (1,))],
)
def test_a_tensor_cannot_reach_beyond_its_storage(offset, shape, stride):
    class Lie:
        def __reduce__(self):
            storage = torch.zeros(4).untyped_storage()
            typed = torch.storage.TypedStorage(
                wrap_storage=storage, dtype=torch.float32, _internal=True
            )
            return torch._utils._rebuild_tensor_v2, (typed, offset, shape, stride, False, {})

    content = saved([Lie()], archive=True)
    with pytest.raises(ArtefactError, match=r"beyond its storage|bad shape"):
        pickles.load(content)


def test_values_that_grow_when_shown_are_not_shown(singan):
    bomb = (0,)
    for _ in range(60):
        bomb = (bomb, bomb)
    network = singan.WDiscriminator()
    network.tail.stride = bomb
    with pytest.raises(ArtefactError, match="unsupported stride"):
        read_published(saved([network], archive=True))
    network.tail.stride, network.tail.padding = (1, 1), bomb
    with pytest.raises(ArtefactError, match="unsupported padding"):
        read_published(saved([network], archive=True))


@both_formats
def test_every_truncation_is_refused(singan, archive):
    content = saved([singan.WDiscriminator(2, blocks=1)], archive=archive)
    for length in [*range(0, 300, 7), *range(300, len(content), 211), len(content) - 1]:
        with pytest.raises(ArtefactError):
            mdf.load_loss(content[:length])


@both_formats
def test_tensors_of_all_kinds_come_back_as_they_were(archive):
    matrix = torch.arange(12.0).reshape(3, 4)
    value = {
        "plain": matrix,
        "view": matrix[1:, ::2],
        "turned": matrix.t(),
        "long": torch.tensor([1, -(1 << 40)]),
        "double": torch.rand(2, dtype=torch.float64),
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
        "nested": [(1, 2.5, None, True), {"text": "ä"}, ()],
    }
    again = pickles.load(saved(value, archive=archive))
    assert again.keys() == value.keys()
    for name in list(value)[:-1]:
        assert torch.equal(again[name], value[name])
    assert again["nested"] == value["nested"]


def test_a_compressed_archive_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02].")
    with pytest.raises(ArtefactError, match="compressed"):
        pickles.load(file.getvalue())


def test_a_zip_of_something_else_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("letter.txt", "dear")
    with pytest.raises(ArtefactError, match=r"no data\.pkl"):
        pickles.load(file.getvalue())


def test_the_classes_are_named_and_never_imported(singan, monkeypatch):
    content = saved([singan.WDiscriminator()], archive=False)
    monkeypatch.delitem(sys.modules, "SinGAN.models")
    monkeypatch.delitem(sys.modules, "SinGAN")
    (record,) = pickles.load(content, classes=CLASSES)
    assert record.kind == "SinGAN.models.WDiscriminator"
    assert not any(name.startswith("SinGAN") for name in sys.modules)


@both_formats
def test_a_file_with_any_byte_changed_is_read_or_refused_and_nothing_else(singan, archive):
    content = saved([singan.WDiscriminator(2, blocks=1)], archive=archive)
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(len(content), (300,), generator=generator).tolist()
    values = torch.randint(256, (300,), generator=generator).tolist()
    refused = 0
    for place, value in zip(places, values, strict=True):
        changed = bytearray(content)
        changed[place] = value
        try:
            mdf.load_loss(bytes(changed))
        except ArtefactError:
            refused += 1
    assert 30 < refused < 300
