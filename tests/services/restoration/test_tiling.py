"""Tiles: together they are the whole image."""

import pytest
import torch

from models.restorers import create, initialise
from services.restoration import tiling
from services.restoration.tiling import restore_tensor, restore_tiles

NETWORKS = [
    {"kind": "edsr", "scale": 2, "blocks": 2, "width": 8},
    {"kind": "edsr", "scale": 3, "blocks": 1, "width": 8},
    {"kind": "edsr", "scale": 4, "blocks": 2, "width": 8, "residual_scale": 0.1},
    {"kind": "srresnet", "scale": 3, "blocks": 1, "width": 8},
    {"kind": "srresnet", "scale": 4, "blocks": 2, "width": 8},
    {"kind": "msrresnet", "scale": 3, "blocks": 1, "width": 8},
    {"kind": "msrresnet", "scale": 4, "blocks": 2, "width": 8},
    {"kind": "dncnn", "depth": 7, "width": 8},
    {"kind": "dncnn", "depth": 4, "width": 8, "channels": 1, "batch_norm": False},
    {"kind": "rrdbnet", "scale": 4, "blocks": 1, "width": 8, "growth": 4},
    {"kind": "rrdbnet", "scale": 2, "blocks": 1, "width": 8, "growth": 4},
    {"kind": "rrdbnet", "scale": 1, "blocks": 1, "width": 8, "growth": 4, "channels": 1},
    {"kind": "zhao", "width": 8},
    {"kind": "srcnn", "widths": [8, 4], "middle_kernel": 3},
]


def build(hyperparameters):
    """A network whose pixels truly depend on all that they may depend on."""
    network = create(**hyperparameters)
    generator = torch.Generator().manual_seed(0)
    initialise(network, generator)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return network.eval()


def whole(network, image):
    """The network on the image at once, padded as far as it must be."""
    height, width = image.shape[-2:]
    pad = -width % network.multiple, -height % network.multiple
    padded = torch.nn.functional.pad(image, (0, pad[0], 0, pad[1]), mode="replicate")
    with torch.no_grad():
        result = network(padded)
    return result[..., : height * network.scale, : width * network.scale]


def picture(channels, height, width):
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("hyperparameters", NETWORKS, ids=str)
@pytest.mark.parametrize(("height", "width"), [(67, 101), (41, 30), (97, 33)])
def test_tiles_are_what_the_whole_image_gives(hyperparameters, height, width):
    network = build(hyperparameters)
    image = picture(network.channels, height, width)
    expected = whole(network, image)
    for tile in (16, 37):
        restored = restore_tensor(network, image, tile=tile)
        assert restored.shape == expected.shape
        assert (restored - expected).abs().max().item() < 1e-5


@pytest.mark.parametrize("hyperparameters", NETWORKS, ids=str)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (3, 2), (5, 64)])
def test_an_image_of_any_size_is_restored(hyperparameters, height, width):
    network = build(hyperparameters)
    image = picture(network.channels, height, width)
    restored = restore_tensor(network, image)
    expected = whole(network, image)
    assert restored.shape == expected.shape
    assert torch.isfinite(restored).all()
    assert (restored - expected).abs().max().item() < 1e-5


@pytest.mark.parametrize("hyperparameters", NETWORKS, ids=str)
def test_a_smaller_budget_gives_more_tiles_and_the_same_image(hyperparameters, monkeypatch):
    network = build(hyperparameters)
    image = picture(network.channels, 203, 151)
    expected = restore_tensor(network, image)
    monkeypatch.setattr(tiling, "TILE_BYTES", 1 << 19)
    counts = []
    restored = restore_tensor(network, image, on_tile=lambda done, total: counts.append(total))
    assert len(counts) == counts[0] > 1
    assert (restored - expected).abs().max().item() < 1e-5


def test_surroundings_of_one_pixel_less_show_a_seam():
    """The test above can fail: the radius is not larger than it must be."""
    network = build({"kind": "zhao", "width": 8})
    image = picture(3, 67, 101)
    expected = whole(network, image)
    network.receptive_radius -= 1
    restored = restore_tensor(network, image, tile=16)
    assert (restored - expected).abs().max().item() > 1e-4


def test_an_image_that_fits_is_restored_at_once_and_bit_for_bit():
    network = build({"kind": "dncnn", "depth": 4, "width": 8})
    image = picture(3, 120, 200)
    calls = []
    restored = restore_tensor(network, image, on_tile=lambda *call: calls.append(call))
    assert calls == [(1, 1)]
    assert torch.equal(restored, whole(network, image))


def test_tiles_report_how_far_they_are_and_can_be_stopped():
    network = build({"kind": "dncnn", "depth": 3, "width": 4})
    calls = []

    def stop(done, total):
        calls.append((done, total))
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        restore_tensor(network, picture(3, 40, 60), tile=20, on_tile=stop)
    assert calls == [(1, 6), (2, 6), (3, 6)]


def test_no_part_is_larger_than_its_tile_and_all_of_them_cover_the_result_once():
    network = build({"kind": "edsr", "scale": 3, "blocks": 1, "width": 4})
    image = picture(3, 50, 71)
    covered = torch.zeros(150, 213)
    largest = 0

    def read(window):
        nonlocal largest
        largest = max(largest, window.bottom - window.top, window.right - window.left)
        return image[..., *window.slices]

    for window, part in restore_tiles(network, read, 50, 71, tile=20):
        assert part.shape[-2:] == covered[window.slices].shape
        assert max(part.shape[-2:]) <= 60
        covered[window.slices] += 1
    assert (covered == 1).all()
    assert largest <= 20 + 2 * network.receptive_radius


def test_a_far_reaching_network_does_not_spend_itself_on_surroundings():
    with torch.device("meta"):
        esrgan = create("rrdbnet", scale=4)
    side = tiling._outer_side(esrgan, tiling.Window(0, 4000, 0, 4000))
    assert side >= esrgan.receptive_radius == 349
    assert tiling._outer_side(esrgan, tiling.Window(0, 1000, 0, 1000)) == 1000


def test_an_image_of_other_channels_is_refused():
    network = build({"kind": "dncnn", "depth": 3, "width": 4})
    with pytest.raises(ValueError, match=r"shape \(1, 1, 8, 8\); a restorer of 3 channels"):
        restore_tensor(network, picture(1, 8, 8))
