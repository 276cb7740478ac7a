"""An hour of `mdf serve` under work: one kill a minute, and nothing grows."""

import random
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil
import pytest
from skimage import data

import mdf
from mdf.client import Job
from mdf.errors import UnreachableError
from services.installation import Installation
from services.retention import orphans

TRAINING = {
    "task": {"kind": "jpeg"},
    "preset": "quick",
    "recipe": {
        "scales": 2,
        "max_size": 40,
        "min_size": 25,
        "factor": "auto",
        "iterations": 40,
        "lr_decay_at": 32,
        "width": 8,
    },
}
RESTORER = {
    "preset": "quick-dncnn-denoising",
    "network": {"kind": "dncnn", "depth": 4, "width": 8},
    "recipe": {"iterations": 100, "patch": 32, "batch": 4, "validate_every": 50},
}
PHOTOGRAPHS = {
    "astronaut": data.astronaut()[:72, 180:260],
    "chelsea": data.chelsea()[60:140, 120:200],
    "coffee": data.coffee()[100:180, 200:280],
    "rocket": data.rocket()[200:280, 300:380],
}
SAMPLE_SECONDS = 2.0
# What is killed in the first half. In the second only jobs are, so that the others live long
# enough to show whether they grow.
KINDS = ("job", "job", "worker", "worker", "api", "broker", "tree")
# A process is warm after this long; what it takes at its start is no growth.
WARM_SECONDS = 120.0
# Less than this, over all lives of a part, shows no slope.
ENOUGH_SECONDS = 900.0
# By the hour. One descriptor lost in each job would be some 500.
MOST_GROWTH = {"memory": (32.0, "MB/h"), "descriptors": (20.0, "/h"), "threads": (6.0, "/h")}


@pytest.fixture
def settings(settings):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    changes = {"port": port, "slots": 2, "checkpoint_seconds": 1.0, "redispatch_seconds": 10.0}
    return settings.model_copy(update=changes)


class Work:
    """Jobs of all kinds, submitted over HTTP for as long as is wanted."""

    def __init__(
        self, client, seed_id: str, dataset_id: str, model_id: str, chance, at_once: int
    ) -> None:
        self.job_ids: list[str] = []
        self._client = client
        self._seed_id = seed_id
        self._dataset_id = dataset_id
        self._model_id = model_id
        self._chance: random.Random = chance
        self._at_once = at_once
        self._unfinished: set[str] = set()

    def refill(self) -> None:
        """Submit until so many jobs are under way; with the API away, later."""
        with suppress(UnreachableError):
            self._look()
            while len(self._unfinished) < self._at_once:
                job = self._chance.choice((self._train, self._train_restorer, self._restore))()
                self.job_ids.append(job.id)
                self._unfinished.add(job.id)

    def wait(self) -> None:
        """Return when all have ended."""
        end = time.monotonic() + 300
        while self._unfinished:
            assert time.monotonic() < end, [self._client.jobs.get(id) for id in self._unfinished]
            time.sleep(0.5)
            with suppress(UnreachableError):
                self._look()

    def _look(self) -> None:
        for job_id in list(self._unfinished):
            if self._client.jobs.get(job_id).state in {"succeeded", "failed", "canceled"}:
                self._unfinished.remove(job_id)

    def _train(self) -> Job:
        return self._client.train(self._seed_id, **TRAINING)

    def _train_restorer(self) -> Job:
        return self._client.train_restorer(self._dataset_id, loss="l1", **RESTORER)

    def _restore(self) -> Job:
        return self._client.restore([self._seed_id], self._model_id)


@dataclass(frozen=True)
class Sample:
    """What a process had, `age` seconds after its start."""

    age: float
    memory: float  # MB
    descriptors: float
    threads: float

    @classmethod
    def of(cls, process: psutil.Process) -> "Sample":
        with process.oneshot():
            return cls(
                age=time.time() - process.create_time(),
                memory=process.memory_info().rss / 1e6,
                descriptors=process.num_fds(),
                threads=process.num_threads(),
            )


class Growth:
    """Samples of the parts of a tree, by part and life."""

    def __init__(self, tree) -> None:
        self._tree = tree
        self._lives: dict[str, dict[psutil.Process, list[Sample]]] = defaultdict(dict)

    def sample(self) -> None:
        for part, processes in self._tree.parts().items():
            for process in processes:
                with suppress(psutil.Error):  # it has just ended
                    self._lives[part].setdefault(process, []).append(Sample.of(process))

    def slopes(self) -> Iterator[tuple[str, str, float, bool]]:
        """For each part that lasts: what grew, by how much an hour, and whether that is certain.

        One line is fitted through all lives of a part, each of which has its own beginning.
        """
        for part in ("serve", "broker", "api", "worker"):
            lives = [
                warm
                for life in self._lives[part].values()
                if len(warm := [sample for sample in life if sample.age >= WARM_SECONDS]) > 1
            ]
            seconds = sum(life[-1].age - life[0].age for life in lives)
            for quantity in MOST_GROWTH:
                above = below = 0.0
                for life in lives:
                    ages = np.array([sample.age for sample in life])
                    values = np.array([getattr(sample, quantity) for sample in life])
                    above += ((ages - ages.mean()) * (values - values.mean())).sum()
                    below += ((ages - ages.mean()) ** 2).sum()
                if below:
                    yield part, quantity, 3600 * above / below, seconds >= ENOUGH_SECONDS


def kill(tree, kind: str, chance: random.Random) -> str:
    """Kill a part of the tree, or the whole; starts it again; says what was killed."""
    if kind == "tree":
        tree.root.kill()
        assert not tree.left()
        tree.begin()
        tree.wait_until_up()
        return kind
    end = time.monotonic() + 10
    while not (found := tree.parts().get(kind, [])):  # no job runs just now
        if time.monotonic() > end:
            return "nothing"
        time.sleep(0.1)
    with suppress(psutil.NoSuchProcess):
        chance.choice(found).kill()
    return kind


@pytest.mark.slow
def test_an_hour_of_work_and_kills_loses_nothing_and_grows_nothing(
    seed_image, add_dataset, model, installation, tree, count, chance, figures, audit, monkeypatch
):
    dataset = add_dataset(PHOTOGRAPHS)
    kills = count(short=1, full=60)
    # The short form has no minute to spare.
    pause, jobs_at_once = (60.0, 4) if figures.form == "full" else (6.0, 2)
    with figures("15", f"soak: a kill every {pause:.0f} s", kills) as scenario:
        tree.begin()
        tree.wait_until_up()
        growth = Growth(tree)
        with mdf.Client(tree.url, retries=8) as client:
            work = Work(client, seed_image.id, dataset.id, model.id, chance, jobs_at_once)
            killed: Counter[str] = Counter()
            began = time.monotonic()
            for number in range(kills):
                go_on(began + pause * (number + chance.random()), work, growth)
                kind = chance.choice(KINDS) if number <= kills // 2 else "job"
                killed[kill(tree, kind, chance)] += 1
                go_on(began + pause * (number + 1), work, growth)
            work.wait()
        for fault in audit(work.job_ids):
            scenario.violate(fault)
        for part, quantity, slope, certain in growth.slopes():
            limit, unit = MOST_GROWTH[quantity]
            at_most = limit if certain else None
            scenario.figure(f"{part}: {quantity}", slope, unit, at_most=at_most)
        for kind, often in killed.items():
            at_most = kills // 20 if kind == "nothing" else None
            scenario.figure(f"kills of {kind}", often, at_most=at_most)
        scenario.figure("jobs", len(work.job_ids))
        tree.stop()
        for process in tree.left():
            scenario.violate(f"{process} is left")
        for path in files(tree.temporary):
            scenario.violate(f"{path} is left")
        # Those of the kills since the last sweep, which is made every five minutes.
        locks = files(installation.settings.home_folder / "locks")
        scenario.figure("lock files left", len(locks), at_most=20)
        monkeypatch.setattr(orphans, "AGE", timedelta(0))  # nobody writes any more
        # A kill leaves at most the file that was being written or had no row yet; that of the
        # tree one in each slot.
        at_most = kills + installation.settings.slots * killed["tree"]
        scenario.figure("drafts and orphans left", len(strays(installation)), at_most=at_most)
        orphans.remove(installation, however_many=True)
        for name in strays(installation):
            scenario.violate(f"{name} is not swept")


def go_on(until: float, work: Work, growth: Growth) -> None:
    """Keep the stack at work until that time."""
    while time.monotonic() < until:
        work.refill()
        growth.sample()
        time.sleep(SAMPLE_SECONDS)


def strays(installation: Installation) -> list[str]:
    """Files among those that are kept which nothing refers to, and what imports work in."""
    home = installation.settings.home_folder
    drafts = [*(home / "blobs").rglob(".tmp-*"), *home.glob("import-*")]
    return [*map(str, drafts), *(entry.key for entry in orphans.find(installation))]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
