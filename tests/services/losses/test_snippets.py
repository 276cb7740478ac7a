"""The code that the studio offers for pasting: run as it stands, on a trained loss."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from services.losses import snippets


@pytest.fixture
def folder(small_loss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where one works: with the loss's files."""
    for form, content in small_loss.files.items():
        (tmp_path / f"it's small.{form}").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path


def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return tuple(torch.rand(2, 3, 24, 32, generator=generator) for _ in range(2))  # type: ignore[return-value]


@pytest.mark.parametrize("form", ["safetensors", "pth"])
def test_the_training_loop_trains(small_loss, folder: Path, form: str) -> None:
    network = nn.Conv2d(3, 3, 3, padding=1)
    degraded, target = images()
    before = float(small_loss.loss(network(degraded), target).detach())
    names: dict[str, Any] = {"network": network, "loader": [(degraded, target)] * 8}
    exec(snippets.training_loop(f"it's small.{form}"), names)
    assert float(small_loss.loss(network(degraded), target).detach()) < before
    assert float(names["value"].detach()) < before


def test_the_program_needs_torch_alone(
    small_loss, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mdf", None)  # importing it would fail
    restored, target = images()
    restored.requires_grad_()
    names: dict[str, Any] = {"restored": restored, "target": target}
    exec(snippets.program("it's small.pt2"), names)
    value = small_loss.loss(restored.detach(), target)
    torch.testing.assert_close(names["value"].detach(), value, rtol=1e-4, atol=0)
    assert restored.grad is not None
    assert restored.grad.abs().max() > 0


def test_basicsr_finds_the_loss_and_builds_it_from_its_options(
    small_loss, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[str, type[nn.Module]] = {}

    class Registry:
        def register(self) -> Any:
            return lambda made: known.setdefault(made.__name__, made)

    for name in ("basicsr", "basicsr.utils", "basicsr.utils.registry"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["basicsr.utils.registry"].LOSS_REGISTRY = Registry()  # type: ignore[attr-defined]
    exec(snippets.basicsr_module(), {"__name__": "mdf_for_basicsr"})
    options = yaml.safe_load(snippets.basicsr_options("it's small.safetensors"))
    options = options["train"]["pixel_opt"]
    built = known[options.pop("type")](**options)  # as basicsr.losses.build_loss does
    restored, target = images()
    assert float(built(restored, target)) == pytest.approx(float(small_loss.loss(restored, target)))


def test_downloads_name_the_service_the_loss_and_the_file() -> None:
    url = "http://127.0.0.1:8000"
    assert f"mdf.Client('{url}')" in snippets.client_download(url, "loss_1", "x.safetensors")
    command = snippets.command_download(url, "loss_1", "a b.safetensors")
    assert command == f"mdf losses get loss_1 --out 'a b.safetensors' --url {url}\n"
