"""What restoring at once over HTTP costs beyond the network itself.

    python benchmarks/restore_latency.py [--rounds 15] [--size 481x321] [--threads N] [--out FILE]

A photograph of 481 × 321 px through DnCNN of 17 layers, by turns: the bare forward in torch, in
this process, and `POST /v1/models/{id}/restore` with `Prefer: wait`, from the file's bytes to the
restored file's. Medians of the rounds, after one to warm up. Both compute with as many threads and
with the memory settings of a job process; the target is 1.3 times the bare forward, and 50 ms.
"""

import argparse
import io
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import torch
from job_environment import enter_job_environment
from PIL import Image
from skimage import data

from models.restorers import Restorer, initialise
from services.access import LOCAL
from services.embedded.stack import Stack
from services.installation import Installation
from services.restorers import catalogue
from services.restorers.artefact import write_restorer
from services.restorers.manifest import RestorerManifest
from services.settings import Settings

FACTOR, EXTRA_SECONDS = 1.3, 0.05


def network() -> tuple[RestorerManifest, Restorer]:
    """DnCNN of 17 layers for colour, untrained: the time is the same."""
    manifest = RestorerManifest(origin="trained", network={"kind": "dncnn"})
    restorer = manifest.spec.build()
    initialise(restorer, torch.Generator().manual_seed(0))
    return manifest, restorer.eval().requires_grad_(False)


def photograph(width: int, height: int) -> bytes:
    """A photograph of that size as a PNG file."""
    image = Image.fromarray(data.astronaut()).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def forward(restorer: Restorer, content: bytes) -> Callable[[], object]:
    """The network alone."""
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255

    def run() -> object:
        with torch.inference_mode():
            return restorer(image)

    return run


def request(client: httpx.Client, model_id: str, content: bytes) -> Callable[[], object]:
    """The same over HTTP."""

    def run() -> object:
        answer = client.post(
            f"/v1/models/{model_id}/restore",
            files={"file": ("photograph.png", content)},
            headers={"Prefer": "wait=120"},
        )
        assert answer.status_code == 200, answer.text
        return answer.content

    return run


def seconds(work: Callable[[], object]) -> float:
    """Time of one run."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(rounds: int, size: tuple[int, int], threads: int) -> tuple[list[float], list[float]]:
    """Seconds of the forward and of the request, round by round."""
    torch.set_num_threads(threads)
    manifest, restorer = network()
    content = photograph(*size)
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), port=8765, slots=0, threads=threads)
        with Stack(settings, tell=lambda _: None) as stack:
            installation = Installation.open(settings)
            with installation.database.write() as session:
                files = {"safetensors": write_restorer(manifest, restorer)}
                model = catalogue.add_imported(
                    session,
                    caller=LOCAL,
                    name="dncnn",
                    manifest=manifest.to_dict(),
                    files=catalogue.store(session, installation.blobs, files),
                )
            installation.close()
            with httpx.Client(base_url=stack.url, timeout=180, trust_env=False) as client:
                works = forward(restorer, content), request(client, model.id, content)
                for work in works:
                    work()
                times = [[seconds(work) for work in works] for _ in range(rounds)]
    return [pair[0] for pair in times], [pair[1] for pair in times]


def main() -> None:
    """Measure, and say whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", default="481x321", help="of the photograph, px")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    bare, asked = measure(given.rounds, (width, height), given.threads)
    medians = statistics.median(bare), statistics.median(asked)
    target = FACTOR * medians[0] + EXTRA_SECONDS
    lines = [
        f"# Restoring {width}×{height} px with DnCNN-17 over HTTP",
        "",
        f"{given.threads} threads, {platform.machine()}, torch {torch.__version__}; medians of "
        f"{given.rounds} rounds, by turns.",
        "",
        "| | seconds | range |",
        "| --- | --- | --- |",
        f"| bare forward | {medians[0]:.3f} | {min(bare):.3f}–{max(bare):.3f} |",
        f"| over HTTP, warm | {medians[1]:.3f} | {min(asked):.3f}–{max(asked):.3f} |",
        f"| target: {FACTOR:g} × forward + {EXTRA_SECONDS * 1000:g} ms | {target:.3f} | "
        f"{'met' if medians[1] <= target else 'missed'} |",
    ]
    report = "\n".join(lines)
    print(report)
    if given.out is not None:
        given.out.write_text(report + "\n")


if __name__ == "__main__":
    enter_job_environment()
    main()
