"""Random patches of the training images, and the decoded images in memory."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from threading import Lock
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from services.datasets.picture import Picture
from services.errors import BadInputError
from services.phase2.degradation import Area, Degradation, Pair
from services.phase2.recipe import RestorerPlan

# Streams of random numbers, apart from each other for the same random seed.
_PATCHES, _ORDER = 1, 2


class PixelCache:
    """Decoded pictures, the least recently used ones forgotten beyond `capacity` bytes."""

    def __init__(self, pictures: Sequence[Picture], capacity: int) -> None:
        self._pictures = pictures
        self._capacity = capacity
        self._held: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._pictures)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Of the picture `index`, (H, W, 3); safe to call from several threads."""
        with self._lock:
            if index in self._held:
                self._held.move_to_end(index)
                return self._held[index]
        pixels = self._pictures[index].read()
        with self._lock:
            if index not in self._held:
                self._held[index] = pixels
                self._bytes += pixels.nbytes
            while self._bytes > self._capacity and self._held:
                _, forgotten = self._held.popitem(last=False)
                self._bytes -= forgotten.nbytes
        return pixels


class Patches:
    """The batches of a training; each depends on its iteration and the random seed alone.

    Every image gives a patch before any gives another. Images with a side below the patch's are
    left out.

    Raises: BadInputError if no image is large enough.
    """

    def __init__(self, pictures: Sequence[Picture], plan: RestorerPlan) -> None:
        recipe = plan.recipe
        fitting = [each for each in pictures if min(each.width, each.height) >= recipe.patch]
        if not fitting:
            largest = max((min(each.width, each.height) for each in pictures), default=0)
            raise BadInputError(
                f"none of the {len(pictures)} training images is {recipe.patch} px or more on its "
                f"shorter side, as patches of that size need; the largest has {largest} px. Use "
                "larger images or a smaller `patch`"
            )
        self.left_out = len(pictures) - len(fitting)
        self._recipe = recipe
        self._degradation = Degradation.of(plan)
        self._step = int(np.lcm(recipe.patch_stride, self._degradation.unit))
        self._cache = PixelCache(fitting, recipe.cache_bytes)
        self._order = lru_cache(maxsize=4)(self._draw_order)

    @property
    def images(self) -> int:
        """How many images the patches are of."""
        return len(self._cache)

    def batch(self, iteration: int) -> Pair:
        """The batch of `iteration`, from 0: (N, C, h, w) and (N, C, H, W) on the CPU."""
        draw = random_numbers(self._recipe.random_seed, _PATCHES, iteration)
        generator = torch.Generator().manual_seed(int(draw.integers(2**63)))
        first = iteration * self._recipe.batch
        pairs = [
            self._patch(self._image(first + number), draw, generator)
            for number in range(self._recipe.batch)
        ]
        return Pair(*(torch.stack(images) for images in zip(*pairs, strict=True)))

    def _patch(
        self, pixels: NDArray[np.uint8], draw: np.random.Generator, generator: torch.Generator
    ) -> Pair:
        """One patch of an image that is turned as a whole: blocks stay aligned with it."""
        if self._recipe.rotations:
            pixels = np.rot90(pixels, int(draw.integers(4)))
        if self._recipe.flips:
            rows, columns = (slice(None, None, int(way)) for way in draw.choice((1, -1), 2))
            pixels = pixels[rows, columns]
        top, left = (self._corner(side, draw) for side in pixels.shape[:2])
        side = self._recipe.patch
        return self._degradation.pair(pixels, Area(top, left, side, side), generator)

    def _corner(self, side: int, draw: np.random.Generator) -> int:
        return self._step * int(draw.integers((side - self._recipe.patch) // self._step + 1))

    def _image(self, number: int) -> NDArray[np.uint8]:
        """The image of the patch `number` of the whole training."""
        done, place = divmod(number, self.images)
        return self._cache.pixels(int(self._order(done)[place]))

    def _draw_order(self, done: int) -> NDArray[np.int64]:
        return random_numbers(self._recipe.random_seed, _ORDER, done).permutation(self.images)


class Loader:
    """Makes the next batches in threads while the device works on this one.

    Args:
        patches: where they come from.
        threads: 0 makes each batch when it is asked for.
        end: the first iteration that has no batch any more.
    """

    def __init__(self, patches: Patches, *, threads: int, end: int) -> None:
        self._patches = patches
        self._threads = threads
        self._end = end
        self._executor = ThreadPoolExecutor(threads) if threads else None
        self._coming: deque[Future[Pair]] = deque()
        self._next = 0  # iteration of the first that is coming

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def batch(self, iteration: int) -> Pair:
        """As `Patches.batch`; fast if iterations are asked for one after the other."""
        if self._executor is None:
            return self._patches.batch(iteration)
        if not self._coming or iteration != self._next:
            self._coming.clear()
            self._next = iteration
        while (number := self._next + len(self._coming)) < min(
            self._end, self._next + 2 * self._threads
        ):
            self._coming.append(self._executor.submit(self._patches.batch, number))
        self._next += 1
        return self._coming.popleft().result()


def random_numbers(seed: int, stream: int, number: int) -> np.random.Generator:
    """Of the thing `number` in the `stream`; streams differ for the same seed."""
    return np.random.default_rng((seed, stream, number))
