"""`make screenshots`: every page of the studio, in both themes and three widths, for the documents.

Starts a service in a folder that goes again, makes small real things on it, logs in, and looks.
The pictures go to docs/images/studio, with as few colours as do not show: `run-1280-dark.png`.
"""

import io
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rich.progress import track
from skimage import data

from mdf.client import Client, Dataset, Job
from tests.browser.studio import FLAGS, Studio, png, running

TARGET = Path(__file__).resolve().parents[2] / "docs" / "images" / "studio"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SIZES = {390: (390, 1200), 1280: (1280, 1200), 2560: (2560, 1440)}
WIDEST = 1280  # px; what is wider is shown smaller
COLOURS = 64
PAGES = {
    "home": "/",
    "seed": "/seed?image={image}",
    "train": "/train?image={image}",
    "runs": "/runs",
    "run": "/runs/{live}",
    "losses": "/losses",
    "loss": "/losses/{loss}",
    "loss-use": "/losses/{loss}?view=use",
    "playground": "/losses/{loss}?view=playground",
    "datasets": "/datasets",
    "dataset": "/datasets/{dataset}",
    "restorers": "/restorers",
    "restorer": "/restorers/{model}",
    "restorer-training": "/restorers/train",
    "restorer-run": "/runs/{restorer}",
    "restore": "/restore?model={model}&image={noisy}",
    "comparisons": "/compare",
    "comparison": "/compare/{evaluation}",
    "admin": "/admin?view=workers",
    "admin-storage": "/admin?view=storage",
}
# What pages say while they wait for something.
WAITING = ("The first look takes", "Looking", "Counting", "Restoring", "waits for")
PHOTOGRAPHS = {
    "astronaut": data.astronaut()[20:276, 120:376],
    "cat": data.chelsea()[20:276, 100:356],
    "coffee": data.coffee()[60:316, 160:416],
    "rocket": data.rocket()[120:376, 200:456],
    "retina": data.retina()[500:756, 500:756],
    "tissue": data.immunohistochemistry()[100:356, 100:356],
    "galaxies": data.hubble_deep_field()[100:356, 100:356],
    "stones": np.repeat(data.gravel()[:256, :256, None], 3, axis=2),
}
# Other parts, and others, to compare restorers on.
UNSEEN = {
    "astronaut": data.astronaut()[240:496, 240:496],
    "cat": data.chelsea()[40:296, 190:446],
    "coffee": data.coffee()[140:396, 330:586],
    "rocket": data.rocket()[160:416, 20:276],
    "retina": data.retina()[700:956, 300:556],
    "tissue": data.immunohistochemistry()[250:506, 250:506],
    "galaxies": data.hubble_deep_field()[600:856, 400:656],
    "bricks": np.repeat(data.brick()[:256, :256, None], 3, axis=2),
}


def main() -> None:
    """Make all of them."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        running(Path(home)) as studio,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        first_visit(studio, browser)
        ids = furnish(studio)
        key = studio.make_key("anna", "admin")
        with Client(studio.url, key) as client:
            live = begin_long_training(client, ids["image"])
            wait_for_second_scale(client, live)
            wanted = {name: path.format(live=live.id, **ids) for name, path in PAGES.items()}
            for page, width, theme in profiles(studio, browser, key):
                for name, path in track(wanted.items(), f"{width} px, {theme}"):
                    take(page, path, f"{name}-{width}-{theme}")
            client.jobs.cancel(live.id)
        browser.close()
    total = sum(each.stat().st_size for each in TARGET.glob("*.png"))
    sys.stdout.write(f"{len([*TARGET.glob('*.png')])} pictures, {total / 1e6:.1f} MB\n")


def furnish(studio: Studio) -> Mapping[str, str]:
    """Make a loss, a data set, two restorers and their comparison; gives ids by placeholder."""
    client = studio.client
    images = {
        name: studio.upload(pixels, name=f"{name}.png") for name, pixels in PHOTOGRAPHS.items()
    }
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 25, PHOTOGRAPHS["cat"].shape)
    noisy = np.clip(PHOTOGRAPHS["cat"] + noise, 0, 255).astype(np.uint8)
    recipe = {"scales": 4, "iterations": 40, "width": 8, "max_size": 96, "min_size": 24}
    training = client.train(
        images["astronaut"], "denoising", preset="quick", recipe=recipe, name="astronaut, denoising"
    )
    dataset = upload_dataset(client, "photographs", PHOTOGRAPHS)
    trained = studio.wait(training)
    restorers = [
        studio.wait(
            client.train_restorer(
                dataset,
                preset="quick-dncnn-denoising",
                network={"kind": "dncnn", "depth": 4, "width": 12},
                recipe={"iterations": 120, "patch": 40, "batch": 4, "validate_every": 20},
                loss=loss,
                name=name,
            )
        )
        for name, loss in (("denoiser, L1", "l1"), ("denoiser, L2", "l2"))
    ]
    models = [str(job.model_id) for job in restorers]
    unseen = upload_dataset(client, "unseen photographs", UNSEEN)
    evaluation = studio.wait(client.evaluate(models, unseen, name="L1 against L2"))
    client.webhooks.create("http://127.0.0.1:9/mdf", name="continuous integration")
    found = {
        "image": images["cat"],
        "noisy": studio.upload(noisy, name="noisy cat.png"),
        "loss": trained.loss_id,
        "dataset": dataset.id,
        "restorer": restorers[0].id,
        "model": models[0],
        "evaluation": evaluation.evaluation_id,
    }
    return {name: str(each) for name, each in found.items()}


def upload_dataset(client: Client, name: str, pictures: Mapping[str, np.ndarray]) -> Dataset:
    """A data set of these pictures, ready."""
    with tempfile.TemporaryDirectory() as folder:
        for each, pixels in pictures.items():
            Path(folder, f"{each}.png").write_bytes(png(pixels))
        return client.datasets.wait(client.datasets.upload(folder, name=name).id)


def begin_long_training(client: Client, image_id: str) -> Job:
    """One that runs for as long as the pictures are taken."""
    recipe = {"scales": 5, "iterations": 400, "width": 8, "max_size": 160, "min_size": 24}
    return client.train(image_id, "jpeg", preset="quick", recipe=recipe, name="cat, JPEG")


def wait_for_second_scale(client: Client, job: Job) -> None:
    """Return when the first one has become a picture."""
    for event in client.jobs.follow(job.id):
        if event.progress is not None and event.progress.scale >= 3:
            return


def profiles(studio: Studio, browser: Browser, key: str) -> Iterator[tuple[Page, int, str]]:
    """A page that has logged in, for each width and theme."""
    for width, (wide, high) in SIZES.items():
        for theme in ("light", "dark"):
            context = browser.new_context(
                base_url=studio.url,
                viewport={"width": wide, "height": high},
                color_scheme=theme,  # type: ignore[arg-type]
                locale="en-GB",
            )
            page = context.new_page()
            take(page, "/login", f"login-{width}-{theme}")
            context.request.post(
                "/v1/session", data={"api_key": key}, headers={"Origin": studio.url}
            )
            yield page, width, theme
            context.close()


def first_visit(studio: Studio, browser: Browser) -> None:
    """Two pages of an empty installation."""
    for width, (wide, high) in SIZES.items():
        for theme in ("light", "dark"):
            page = browser.new_page(
                base_url=studio.url,
                viewport={"width": wide, "height": high},
                color_scheme=theme,  # type: ignore[arg-type]
                locale="en-GB",
            )
            take(page, "/", f"first-visit-{width}-{theme}")
            take(page, "/admin", f"admin-keys-{width}-{theme}")
            page.close()


def take(page: Page, path: str, name: str) -> None:
    """Look at a page once it has settled."""
    page.goto(path)
    page.wait_for_timeout(1500)
    page.wait_for_function(f"!/{'|'.join(WAITING)}/.test(document.body.innerText)")
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        picture = shot.convert("RGB")
    if picture.width > WIDEST:
        picture = picture.resize(
            (WIDEST, round(picture.height * WIDEST / picture.width)), Image.Resampling.LANCZOS
        )
    few = picture.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE)
    few.save(TARGET / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
