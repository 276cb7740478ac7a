"""The files for code without this package, and the opening of files of every kind."""

import hashlib
import io
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import mdf
from mdf import export
from mdf.artefact import write_artefact
from mdf.errors import ArtefactError
from mdf.loss import MDFLoss


@pytest.fixture(scope="module")
def program(build_loss) -> bytes:
    return export.program(*build_loss())


def run(script: str, *arguments: object, cwd: Path) -> str:
    """What a fresh Python prints, isolated from this one's paths."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_state_dicts_load_with_weights_only(build_loss):
    manifest, discriminators = build_loss()
    content = torch.load(
        io.BytesIO(export.state_dicts(manifest, discriminators)), weights_only=True
    )
    assert json.loads(content["manifest"]) == manifest.to_dict()
    for state, discriminator in zip(content["discriminators"], discriminators, strict=True):
        discriminator.load_state_dict(state, strict=True)


def test_state_dicts_have_the_same_bytes_again(build_loss):
    assert export.state_dicts(*build_loss()) == export.state_dicts(*build_loss())


def test_every_file_of_a_loss_opens_as_the_same_loss(build_loss, tmp_path):
    manifest, discriminators = build_loss(taps="every-relu")
    x, y = torch.rand(2, 2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    expected = MDFLoss(manifest, discriminators)(x, y).item()
    for write in (write_artefact, export.state_dicts):
        content = write(manifest, discriminators)
        path = tmp_path / "loss of mine"
        path.write_bytes(content)
        for source in (content, path, str(path)):
            loss = mdf.load_loss(source)
            assert loss.manifest == manifest
            assert loss(x, y).item() == expected
    double = mdf.load_loss(path, dtype=torch.float64, device="cpu")
    assert double(x, y).dtype == torch.float64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a loss: it begins with b''"),
        (b"\x89PNG\r\n\x1a\n", "it begins with b'.x89PNG"),
        (b"x" * 100, "known are the safetensors artefact"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(ArtefactError, match=message):
            mdf.load_loss(source)


def test_a_program_is_refused_with_a_reason(program):
    with pytest.raises(ArtefactError, match=r"no data\.pkl"):
        mdf.load_loss(program)


@pytest.mark.parametrize(
    "change",
    [
        {"manifest": 7},
        {"manifest": "{}"},
        {"discriminators": []},
        {"discriminators": [{"head": 1}]},
        {"extra": 1},
    ],
    ids=str,
)
def test_damaged_state_dicts_are_refused(build_loss, change):
    content = torch.load(io.BytesIO(export.state_dicts(*build_loss())), weights_only=True)
    file = io.BytesIO()
    torch.save(content | change, file)
    with pytest.raises(ArtefactError):
        mdf.load_loss(file.getvalue())


SIZES = [(1, 12, 12), (1, 40, 31), (3, 17, 64), (8, 20, 20)]


@pytest.mark.slow
@pytest.mark.parametrize("form", [{}, {"padding": "same", "value_range": (0.0, 1.0)}], ids=str)
def test_a_program_is_the_loss_at_any_size(build_loss, form):
    manifest, discriminators = build_loss(**form)
    loss = MDFLoss(manifest, discriminators)
    file = io.BytesIO(export.program(manifest, discriminators))
    module = torch.export.load(file).module()
    generator = torch.Generator().manual_seed(0)
    for count, height, width in SIZES:
        x, y = torch.rand(2, count, 3, height, width, generator=generator)
        restored, again = x.clone().requires_grad_(), x.clone().requires_grad_()
        value, expected = module(restored, y), loss(again, y)
        value.backward()
        expected.backward()
        assert value.item() == pytest.approx(expected.item(), rel=1e-5)
        assert (restored.grad - again.grad).norm() < 1e-3 * again.grad.norm()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert module(x, y).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.slow
def test_a_program_runs_with_torch_alone(build_loss, program, tmp_path):
    (tmp_path / "loss.pt2").write_bytes(program)
    printed = run(
        """
        import sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"mdf", "models", "services", "safetensors"}:
                    raise ModuleNotFoundError(name, name=name)

        sys.meta_path.insert(0, Blocker())
        import torch

        loss = torch.export.load(sys.argv[1]).module()
        restored = torch.full((2, 3, 24, 30), 0.25, requires_grad=True)
        value = loss(restored, torch.linspace(0, 1, 4320).reshape(2, 3, 24, 30))
        value.backward()
        assert restored.grad.abs().sum() > 0
        print(value.item())
        """,
        "loss.pt2",
        cwd=tmp_path,
    )
    loss = MDFLoss(*build_loss())
    expected = loss(
        torch.full((2, 3, 24, 30), 0.25), torch.linspace(0, 1, 4320).reshape(2, 3, 24, 30)
    )
    assert float(printed) == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.slow
def test_a_program_has_the_same_bytes_in_another_process_and_no_path_of_this_one(
    build_loss, program, tmp_path
):
    (tmp_path / "loss.safetensors").write_bytes(write_artefact(*build_loss()))
    digest = run(
        """
        import hashlib, sys
        from mdf import artefact, export

        content = open(sys.argv[1], "rb").read()
        program = export.program(*artefact.read_artefact(content))
        print(hashlib.sha256(program).hexdigest())
        """,
        "loss.safetensors",
        cwd=tmp_path,
    )
    assert digest.strip() == hashlib.sha256(program).hexdigest()
    assert str(Path(export.__file__).parent).encode() not in program
