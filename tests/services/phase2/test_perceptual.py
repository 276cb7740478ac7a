import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from models.losses.feature_networks import alexnet, vgg
from models.losses.lpips import WIDTHS
from services.errors import BadInputError
from services.phase2 import perceptual


@pytest.fixture
def without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)


def heads() -> dict[str, Tensor]:
    return {f"lin{i}.model.1.weight": torch.ones(1, w, 1, 1) for i, w in enumerate(WIDTHS["alex"])}


IMAGES = (
    torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
    torch.zeros(1, 3, 32, 32),
)


def test_a_vgg_is_read_from_the_folder_in_either_format(tmp_path: Path) -> None:
    state = vgg("vgg19", "conv2_2").state_dict()
    torch.save(state, tmp_path / "vgg19-dcbb9e9d.pth")
    pickled = perceptual.vgg_loss("vgg19", "conv2_2", tmp_path)(*IMAGES)
    (tmp_path / "vgg19-dcbb9e9d.pth").unlink()
    safetensors.torch.save_file(state, tmp_path / "vgg19.safetensors")
    assert perceptual.vgg_loss("vgg19", "conv2_2", tmp_path)(*IMAGES) == pickled
    assert pickled > 0


def test_lpips_is_read_from_the_folder(tmp_path: Path) -> None:
    torch.save(alexnet().state_dict(), tmp_path / "alexnet-owt-7be5be79.pth")
    torch.save(heads(), tmp_path / "lpips-alex.pth")
    assert perceptual.lpips("alex", tmp_path)(*IMAGES) > 0


@pytest.mark.usefixtures("without_torchvision")
def test_missing_weights_are_refused_with_the_ways_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        BadInputError, match=r"weights of vgg19 are missing: put .*`vgg19-….pth`"
    ) as (refusal):
        perceptual.vgg_loss("vgg19", "conv5_4", tmp_path)
    assert f"{tmp_path} (MDF_PERCEPTUAL_WEIGHTS), or install torchvision" in refusal.value.message
    with pytest.raises(BadInputError, match=r"put `lpips-vgg.pth` .* set MDF_PERCEPTUAL_WEIGHTS"):
        perceptual.lpips("vgg", None)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vgg19.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(BadInputError, match=r"vgg19.pth cannot be read as weights"):
        perceptual.vgg_loss("vgg19", "conv5_4", tmp_path)
    torch.save([torch.zeros(1)], tmp_path / "vgg19.pth")
    with pytest.raises(BadInputError, match=r"vgg19.pth is no state dict"):
        perceptual.vgg_loss("vgg19", "conv5_4", tmp_path)
    torch.save(heads(), tmp_path / "vgg19.pth")
    with pytest.raises(BadInputError, match=r"weights of vgg19 do not fit: the weights lack"):
        perceptual.vgg_loss("vgg19", "conv5_4", tmp_path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "sprung"),))

    torch.save({"features.0.weight": Trap()}, tmp_path / "vgg19.pth")
    with pytest.raises(BadInputError, match=r"vgg19.pth cannot be read as weights"):
        perceptual.vgg_loss("vgg19", "conv5_4", tmp_path)
    assert not (tmp_path / "sprung").exists()
