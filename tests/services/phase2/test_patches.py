from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage import data

from services.datasets.picture import Picture
from services.errors import BadInputError
from services.phase2.patches import Loader, Patches, PixelCache
from services.phase2.recipe import RestorerPlan

Plan = Callable[..., RestorerPlan]
Make = Callable[..., Picture]
CLEAN = {"kind": "denoising", "sigma": 0}


def test_a_batch_depends_on_its_iteration_alone(pictures: list[Picture], plan: Plan) -> None:
    one, other = Patches(pictures, plan()), Patches(pictures, plan())
    for iteration in (0, 1, 2):
        one.batch(iteration)
    for iteration in (5, 2, 9, 2):
        for ours, theirs in zip(one.batch(iteration), other.batch(iteration), strict=True):
            assert torch.equal(ours, theirs)
    assert not torch.equal(one.batch(1).target, one.batch(2).target)
    reseeded = Patches(pictures, plan({"random_seed": 8}))
    assert not torch.equal(one.batch(1).target, reseeded.batch(1).target)


def test_a_batch_has_patches_of_the_targets_size(pictures: list[Picture], plan: Plan) -> None:
    degraded, target = Patches(pictures, plan()).batch(0)
    assert degraded.shape == target.shape == (4, 3, 16, 16)
    assert degraded.dtype == target.dtype == torch.float32
    enlarging = plan(
        {"patch": 24},
        task={"kind": "sisr", "factor": 3},
        network={"kind": "edsr", "scale": 3, "blocks": 1, "width": 4},
    )
    degraded, target = Patches(pictures, enlarging).batch(0)
    assert degraded.shape == (4, 3, 8, 8)
    assert target.shape == (4, 3, 24, 24)


def test_every_image_gives_a_patch_before_any_gives_another(plan: Plan, picture: Make) -> None:
    """Five flat images of their own colours, in batches of four."""
    flat = [picture(np.full((40, 40, 3), 50 * level, np.uint8)) for level in range(5)]
    patches = Patches(flat, plan(task=CLEAN))
    colours = [
        round(float(image.mean() * 255 / 50))
        for iteration in range(5)
        for image in patches.batch(iteration).target
    ]
    rounds = [colours[start : start + 5] for start in range(0, 20, 5)]
    assert all(sorted(each) == [0, 1, 2, 3, 4] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_patches_come_from_everywhere_in_the_image(plan: Plan, picture: Make) -> None:
    """Pixels that hold their own place, seen without augmentation."""
    place = np.zeros((40, 60, 3), np.uint8)
    place[..., 0], place[..., 1] = np.mgrid[:40, :60]
    still = {"flips": False, "rotations": False, "batch": 64}
    corners = corners_of(Patches([picture(place)], plan(still, task=CLEAN)))
    assert {row for row, _ in corners} == set(range(25))
    assert {column for _, column in corners} == set(range(45))


def test_a_stride_of_seven_leaves_the_grid_of_blocks_behind(plan: Plan, picture: Make) -> None:
    place = np.zeros((80, 100, 3), np.uint8)
    place[..., 0], place[..., 1] = np.mgrid[:80, :100]
    recipe = {"flips": False, "rotations": False, "batch": 64, "patch_stride": 7}
    corners = corners_of(Patches([picture(place)], plan(recipe, task=CLEAN)))
    assert {row for row, _ in corners} == set(range(0, 65, 7))
    assert {column % 8 for _, column in corners} == set(range(8))


def corners_of(patches: Patches) -> set[tuple[int, int]]:
    images = [image for iteration in range(20) for image in patches.batch(iteration).target]
    return {(round(float(i[0, 0, 0] * 255)), round(float(i[1, 0, 0] * 255))) for i in images}


@pytest.mark.parametrize(
    ("flips", "rotations", "ways"), [(False, False, 1), (True, False, 4), (True, True, 8)]
)
def test_augmentation_turns_and_mirrors_all_ways(
    flips: bool, rotations: bool, ways: int, plan: Plan, picture: Make
) -> None:
    corner = np.zeros((16, 16, 3), np.uint8)
    corner[0, 2] = 255  # no symmetry
    recipe = {"flips": flips, "rotations": rotations, "batch": 32}
    patches = Patches([picture(corner)], plan(recipe, task=CLEAN))
    seen = Counter(
        int(image[0].argmax()) for iteration in range(20) for image in patches.batch(iteration)[1]
    )
    assert len(seen) == ways
    assert min(seen.values()) > 640 / ways / 2


def test_images_smaller_than_a_patch_are_left_out(
    pictures: list[Picture], plan: Plan, picture: Make
) -> None:
    small = picture(data.astronaut()[:15, :200])
    patches = Patches([small, *pictures], plan())
    assert (patches.images, patches.left_out) == (5, 1)
    with pytest.raises(BadInputError, match=r"none of the 1 training images is 16 px .* has 15 px"):
        Patches([small], plan())


def test_decoded_images_are_kept_within_their_bytes(pictures: list[Picture]) -> None:
    reads: Counter[str] = Counter()

    def counted(picture: Picture) -> Picture:
        def read() -> np.ndarray:
            reads[picture.name] += 1
            return picture.read()

        return Picture(picture.name, picture.digest, picture.width, picture.height, read)

    one = pictures[0].read().nbytes
    cache = PixelCache([counted(each) for each in pictures], 2 * one)
    for index in (0, 1, 0, 2, 0, 1):
        assert np.array_equal(cache.pixels(index), pictures[index].read())
    names = [picture.name for picture in pictures]
    assert [reads[name] for name in names] == [1, 2, 1, 0, 0]  # 1 made room for 2
    none = PixelCache([counted(pictures[0])], 0)
    none.pixels(0)
    none.pixels(0)
    assert reads[names[0]] == 3


def test_threads_make_the_same_batches_in_the_same_order(
    pictures: list[Picture], plan: Plan
) -> None:
    patches = Patches(pictures, plan({"cache_bytes": 0}))
    with Loader(patches, threads=3, end=12) as loader:
        for iteration in [*range(4), *range(2, 12)]:  # as after a resume
            for ours, theirs in zip(loader.batch(iteration), patches.batch(iteration), strict=True):
                assert torch.equal(ours, theirs)
