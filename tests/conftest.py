"""A service in a folder of its own, for every test that wants one."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from skimage import data
from sqlalchemy import select

from services.access import LOCAL
from services.database.schema import (
    Artifact,
    Dataset,
    DatasetImage,
    Evaluation,
    Image,
    Job,
    JobEvent,
    JobSample,
    Loss,
    Model,
    now,
)
from services.embedded.broker import EmbeddedRedis
from services.evaluation import catalogue as evaluations
from services.evaluation import report
from services.evaluation.spec import Evaluation as EvaluationSpec
from services.ids import new_id
from services.images import catalogue
from services.installation import Installation
from services.jobs import artifacts, dispatch
from services.jobs.dispatch import Dispatcher
from services.jobs.lifecycle import TERMINAL
from services.jobs.specs import SPECS
from services.jobs.submission import submit
from services.losses import catalogue as losses
from services.phase1.recipe import DiscriminatorTraining
from services.restorers import catalogue as models
from services.settings import Settings
from tests.waiting import PATIENCE_SECONDS, wait_until

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Begun in the background of a shell; programs under test would inherit it, and tests press
    # Ctrl-C on them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # Begun by `nohup`, which is still heeded here: programs under test would inherit that as well.
    signal.signal(signal.SIGHUP, lambda *_: None)

# A worker whose jobs count instead of training; see tests/workers/counting_job.py.
COUNTING = (str(Path(__file__).parent / "workers" / "counting_worker.py"),)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the suite in tests/chaos; here, since pytest reads them only from this file."""
    group = parser.getgroup("chaos")
    group.addoption("--chaos", choices=("short", "full"), default="short", help="the suite's form")
    group.addoption("--chaos-scale", type=float, default=1.0, help="factor of all counts")
    group.addoption("--chaos-seed", type=int, help="brings back the chances of a run")
    group.addoption(
        "--chaos-database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="on which the suite runs; of PostgreSQL, a server of its own is started",
    )
    group.addoption("--chaos-report", type=Path, help="file of the figures: .md and .json")


@pytest.fixture
def lease_seconds() -> float:
    """Longer than a busy machine lets a process stand still; a test may give another one."""
    return 20


@pytest.fixture
def settings(tmp_path: Path, lease_seconds: float) -> Settings:
    """Settings of a service that reacts quickly."""
    return Settings(
        home=tmp_path / "home",
        disk_floor_bytes=0,
        heartbeat_seconds=0.5,
        lease_seconds=lease_seconds,
        checkpoint_seconds=0.2,
        redispatch_seconds=2,
        threads=1,
    )


@pytest.fixture
def installation(settings: Settings) -> Iterator[Installation]:
    """A database with its tables, and blobs."""
    opened = Installation.open(settings)
    opened.database.migrate()
    yield opened
    opened.close()


@pytest.fixture
def lose_sector() -> Callable[[Path], None]:
    """Put in a file's place one of 4,096 bytes that can be opened and not be read (EIO)."""
    attribute = Path("/sys/devices/software/power/autosuspend_delay_ms")

    def lose(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(attribute)
        with pytest.raises(OSError, match="Input/output error"):
            path.read_bytes()

    return lose


@pytest.fixture
def seed_image(installation: Installation) -> Image:
    """A photograph of 96×96 px in the catalogue."""
    pixels = np.ascontiguousarray(data.astronaut()[32:128, 160:256])
    with installation.database.write() as session:
        image, _ = catalogue.add(
            session,
            installation.blobs,
            catalogue.from_pixels(pixels, {}),
            name="astronaut.png",
            caller=LOCAL,
        )
    return image


@pytest.fixture
def add_dataset(installation: Installation) -> Callable[..., Dataset]:
    """Make a data set of pixels, (H, W, 3) by name."""

    def add(pictures: Mapping[str, np.ndarray], *, ready: bool = True) -> Dataset:
        decoded = {
            name: catalogue.from_pixels(np.ascontiguousarray(pixels), {})
            for name, pixels in sorted(pictures.items())
        }
        digests = "".join(each.digest for each in decoded.values())
        dataset = Dataset(
            id=new_id("ds"),
            owner=LOCAL.owner,
            name="photographs",
            source={"kind": "upload"},
            on_bad_file="skip",
            size=100,
            received=100,
            ready=now() if ready else None,
            digest=sha256(digests.encode()).hexdigest(),
            images=len(decoded),
            pixels=sum(each.width * each.height for each in decoded.values()),
            bad_files=[],
            bad_file_count=0,
            created=now(),
        )
        with installation.database.write() as session:
            session.add(dataset)
            session.flush()
            for position, (name, image) in enumerate(decoded.items()):
                file = installation.blobs.put(f"datasets/{image.digest}.png", image.png)
                session.add(
                    DatasetImage(
                        dataset_id=dataset.id,
                        position=position,
                        name=name,
                        digest=image.digest,
                        blob=file.blob,
                        width=image.width,
                        height=image.height,
                        size=file.size,
                        sha256=file.sha256,
                    )
                )
        return dataset

    return add


@pytest.fixture
def add_model(installation: Installation) -> Callable[..., Model]:
    """Add a network to the catalogue, a small denoiser if nothing else; it was not trained."""
    import torch

    from models.restorers import initialise
    from services.restorers.artefact import write_restorer
    from services.restorers.manifest import RestorerManifest

    def add(kind: str = "dncnn", **hyperparameters: Any) -> Model:
        manifest = RestorerManifest(
            origin="trained",
            network={"kind": kind, **(hyperparameters or {"depth": 3, "width": 4})},
            task={"kind": "denoising", "sigma": [0, 55]},
            loss={"kind": "l2"},
            metrics={"psnr": 27.5},
            iterations=100,
        )
        restorer = manifest.spec.build()
        initialise(restorer, torch.Generator().manual_seed(0))
        content = write_restorer(manifest, restorer.eval())
        with installation.database.write() as session:
            files = models.store(session, installation.blobs, {"safetensors": content})
            return models.add_imported(
                session, caller=LOCAL, name="denoiser", manifest=manifest.to_dict(), files=files
            )

    return add


@pytest.fixture
def model(add_model: Callable[..., Model]) -> Model:
    """A small denoiser in the catalogue."""
    return add_model()


@pytest.fixture
def add_loss(installation: Installation) -> Callable[[], Loss]:
    """Add a small loss of one scale to the catalogue, another one each time; nobody trained it."""
    from mdf.artefact import Manifest, write_artefact
    from mdf.discriminator import Discriminator

    numbers = count()

    def add() -> Loss:
        manifest = Manifest(
            origin="trained",
            widths=(4,),
            iterations=(5,),
            task={"kind": "sisr"},
            recipe={"scales": 1},
            taps="every-relu",
            seeds=("0" * 64,),
            random_seed=next(numbers),
        )
        content = write_artefact(manifest, [Discriminator(width=4)])
        with installation.database.write() as session:
            files = losses.store(session, installation.blobs, {"safetensors": content})
            return losses.add_imported(
                session, caller=LOCAL, name="small", manifest=manifest.to_dict(), files=files
            )

    return add


@pytest.fixture
def add_evaluation(installation: Installation) -> Callable[[str], Evaluation]:
    """Give a job an evaluation of one model on two images; nobody measured it."""

    def add(job_id: str) -> Evaluation:
        spec = EvaluationSpec.model_validate(
            {"model_ids": ["model_1"], "dataset_id": "ds_1", "task": {"kind": "jpeg"}}
        )
        images = [
            {
                "position": position,
                "dataset_position": position,
                "name": f"{position}.png",
                "digest": f"{position:064x}",
                "width": 64,
                "height": 48,
                "values": {
                    "input": {"psnr": 25.0 + position},
                    "model_1": {"psnr": 26.5 + 2 * position},
                },
            }
            for position in range(2)
        ]
        summary = report.summarise_all(
            spec,
            report.Material("ds_1", "photographs", None, len(images), held_out=False),
            [report.degraded(), report.Candidate("model_1", "denoiser", {"kind": "dncnn"})],
            [report.Yardstick("psnr", "PSNR", "dB", higher_is_better=True)],
            images,
        )
        blobs = installation.blobs
        file = blobs.put(
            f"artifacts/{job_id}/1-evaluation", json.dumps({**summary, "images": images}).encode()
        )
        sample = blobs.put(f"samples/{job_id}/1-1-input.png", b"not looked at")
        with installation.database.write() as session:
            job = session.get_one(Job, job_id)
            place = {"job_id": job_id, "scale": 1, "step": 1, "kind": "input"}
            session.add(JobSample(id=new_id("smp"), **place, blob=sample.blob, created=now()))
            artifacts.publish(
                session, job, kind="evaluation", media_type="application/json", file=file
            )
            return evaluations.add(session, job=job, summary=summary)

    return add


@pytest.fixture
def broker(settings: Settings) -> Iterator[EmbeddedRedis]:
    """The service's own Redis, running."""
    server = EmbeddedRedis(settings.broker_socket, settings.home_folder / "redis")
    server.start()
    yield server
    server.stop()


def patient_dispatcher(settings: Settings) -> Dispatcher:
    """One that waits for the answer of a broker that stands still for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "_QUESTION_SECONDS", PATIENCE_SECONDS)
        patch.setattr(dispatch, "_TIMEOUT_SECONDS", PATIENCE_SECONDS)
        return Dispatcher(settings)


class House:
    """An installation with a broker, and worker slots to start, stop and kill."""

    def __init__(
        self,
        installation: Installation,
        seed: Image,
        logs: Path,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        self.installation = installation
        self.dispatcher = dispatcher or Dispatcher(installation.settings)
        self._seed = seed
        self._logs = logs
        self._workers: list[subprocess.Popen[bytes]] = []

    def worker(self, program: Sequence[str] = COUNTING) -> subprocess.Popen[bytes]:
        """A new worker slot."""
        number = len(self._workers)
        with (self._logs / f"worker-{number}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *program, "--slot", str(number)],
                env={**os.environ, **self.installation.settings.environment()},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._workers.append(process)
        return process

    def submit(
        self, options: str = "", *, announce: bool = True, priority: int = 0, **spec: Any
    ) -> str:
        """A new job; what a counting one does stands in `options`."""
        given = {"seed_image_ids": [self._seed.id], "task": {"kind": "sisr"}, "preset": "quick"}
        checked = (
            SPECS[spec["type"]].model_validate(spec)
            if "type" in spec
            else (DiscriminatorTraining.model_validate(given | spec))
        )
        with self.installation.database.write() as session:
            job = submit(session, checked, caller=LOCAL, name=options, priority=priority)
        if announce:
            assert self.dispatcher.announce(job.id, job.type)
        return job.id

    def job(self, job_id: str) -> Job:
        """The job's row."""
        with self.installation.database.read() as session:
            return session.get_one(Job, job_id)

    def events(self, job_id: str, kind: str) -> list[JobEvent]:
        """The job's log, one kind."""
        with self.installation.database.read() as session:
            query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.kind == kind)
            return list(session.scalars(query.order_by(JobEvent.seq)))

    def states(self, job_id: str) -> list[str]:
        """The states that the job has gone through."""
        return [event.content["state"] for event in self.events(job_id, "state")]

    def ask(self, request: Callable[..., Job], job_id: str) -> Job:
        """One of `services.jobs.requests`."""
        with self.installation.database.write() as session:
            return request(session, job_id, LOCAL)

    def wait(
        self, job_id: str, condition: Callable[[Job], bool], *, seconds: float = PATIENCE_SECONDS
    ) -> Job:
        """The job once it meets `condition`."""

        def look() -> Job | None:
            job = self.job(job_id)
            return job if condition(job) else None

        def tell() -> str:
            job = self.job(job_id)
            logs = "\n".join(path.read_text()[-3000:] for path in sorted(self._logs.glob("*.log")))
            return f"{job.state}, progress {job.progress}, states {self.states(job_id)}\n{logs}"

        return wait_until(look, told=tell, seconds=seconds)

    def wait_for(self, job_id: str, *states: str, seconds: float = PATIENCE_SECONDS) -> Job:
        """The job once it is in one of `states`."""
        return self.wait(job_id, lambda job: job.state in states, seconds=seconds)

    def wait_for_end(self, job_id: str, *, seconds: float = PATIENCE_SECONDS) -> Job:
        """The job once it has ended."""
        return self.wait_for(job_id, *TERMINAL, seconds=seconds)

    def wait_for_step(self, job_id: str, step: int) -> Job:
        """The job once it has reported that step."""
        return self.wait(
            job_id, lambda job: job.progress is not None and job.progress["step"] >= step
        )

    def processes(self, job_id: str) -> list[psutil.Process]:
        """The processes that have the job."""
        everything = psutil.process_iter(["cmdline"])
        return [process for process in everything if job_id in (process.info["cmdline"] or ())]

    def process(self, job_id: str) -> psutil.Process:
        """The job's process, once it is there."""
        return wait_until(lambda: self.processes(job_id), told=f"no process has {job_id}")[0]

    def wait_until_swept(self) -> None:
        """Return when no checkpoint is left: it goes after the job has ended."""
        blobs = self.installation.blobs
        wait_until(lambda: not blobs.keys("checkpoints"), told=lambda: blobs.keys("checkpoints"))

    def count(self, job_id: str) -> list[int]:
        """What the job published, once."""
        with self.installation.database.read() as session:
            artifact = session.scalars(select(Artifact).where(Artifact.job_id == job_id)).one()
        counted: list[int] = json.loads(self.installation.blobs.get(artifact.blob))
        return counted

    def close(self) -> None:
        """Stop all workers."""
        for process in self._workers:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self._workers:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.dispatcher.close()


@pytest.fixture
def bare_house(installation: Installation, seed_image: Image, tmp_path: Path) -> House:
    """A house without broker and workers: others bring them."""
    return House(
        installation, seed_image, tmp_path, dispatcher=patient_dispatcher(installation.settings)
    )


@pytest.fixture
def house(bare_house: House, broker: EmbeddedRedis) -> Iterator[House]:
    """A house without workers; start them with `house.worker()`."""
    yield bare_house
    bare_house.close()


class Served:
    """The API as a process of its own, behind HTTP."""

    def __init__(self, process: psutil.Popen, url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    def memory(self) -> int:
        """Bytes of memory that it and its children have to themselves."""
        total = self.process.memory_full_info().uss
        own = self.process.cmdline()
        for each in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                # Until its program begins, a child's memory is its parent's.
                if each.cmdline() != own:
                    total += each.memory_full_info().uss
        return total


def answers(url: str) -> bool:
    """Whether the API does there."""
    try:
        httpx.get(f"{url}/healthz", trust_env=False)
    except httpx.TransportError:
        return False
    return True


@pytest.fixture
def serve(installation: Installation, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start `python -m api` with changed settings; returns once it answers."""
    started: list[psutil.Popen] = []

    def start(**changes: object) -> Served:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        settings = installation.settings.model_copy(update={"port": port, **changes})
        log = tmp_path / f"api-{len(started)}.log"
        with log.open("wb") as output:
            process = psutil.Popen(
                [sys.executable, "-m", "api"],
                env=os.environ | settings.environment(),
                stderr=output,
            )
        started.append(process)
        served = Served(process, f"http://127.0.0.1:{port}", log)

        wait_until(lambda: process.poll() is not None or answers(served.url), told=log.read_text)
        assert process.poll() is None, log.read_text()
        return served

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


HttpAnswer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Received:
    """One request that has arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A receiver of webhooks: keeps what it gets, and answers as `answer` says."""

    answer: HttpAnswer
    received: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # who sent it was killed meanwhile
                receiver.received.append(Received(self.path, dict(self.headers), body))
                receiver.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=s3cr3t"

    def wait(self, count: int = 1, seconds: float = PATIENCE_SECONDS) -> list[Received]:
        """What has arrived, once it is so many."""
        wait_until(
            lambda: len(self.received) >= count,
            told=lambda: f"{len(self.received)} of {count} have arrived",
            seconds=seconds,
        )
        return self.received

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def answer(status: int, body: bytes = b"", **headers: str) -> HttpAnswer:
    """An answer like any."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return write


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """Start a receiver that answers with a status, or as it is told."""
    opened: list[Receiver] = []

    def start(how: int | HttpAnswer = 204, **headers: str) -> Receiver:
        receiver = Receiver(answer(how, **headers) if isinstance(how, int) else how)
        opened.append(receiver)
        return receiver

    yield start
    for receiver in opened:
        receiver.close()
