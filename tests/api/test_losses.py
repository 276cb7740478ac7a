"""Losses over HTTP: import, download, compare, card, deletion, with the real process for torch."""

import io
import json
import pickle
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from skimage import data

from api.app import create_app
from mdf import load_loss
from mdf.artefact import Manifest, write_artefact
from mdf.discriminator import Discriminator, initialise
from mdf.export import state_dicts
from services.installation import Installation
from services.settings import Settings

PHOTO = np.ascontiguousarray(data.astronaut()[:96, :128])
PUBLISHED = Path(__file__).parents[3] / "shared/peers/mdf/Ds_JPEG.pth"


def make_discriminators() -> tuple[Manifest, list[Discriminator]]:
    generator = torch.Generator().manual_seed(7)
    discriminators = [Discriminator(width=width) for width in (4, 8)]
    for discriminator in discriminators:
        initialise(discriminator, generator)
    manifest = Manifest(
        origin="trained",
        widths=(4, 8),
        iterations=(5, 5),
        task={"kind": "jpeg", "quality": [7, 10]},
        recipe={"scales": 2},
        taps="every-relu",
        seeds=("0" * 64,),
        random_seed=7,
    )
    return manifest, discriminators


ARTEFACT = write_artefact(*make_discriminators())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One service for this file: its process for torch starts once."""
    installation = Installation.open(
        Settings(home=tmp_path_factory.mktemp("home"), disk_floor_bytes=0, threads=1)
    )
    installation.database.migrate()
    with TestClient(
        create_app(installation), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)
    ) as connected:
        yield connected
    installation.close()


@pytest.fixture(scope="module")
def loss(client: TestClient) -> dict:
    answer = client.post("/v1/losses/import", files={"file": ("jpeg.safetensors", ARTEFACT)})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/losses/{answer.json()['id']}"
    return answer.json()


def upload(client: TestClient, pixels: np.ndarray) -> str:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    answer = client.post("/v1/images", files={"file": ("x.png", content.getvalue())})
    return str(answer.json()["id"])


def jpeg(quality: int) -> np.ndarray:
    content = io.BytesIO()
    Image.fromarray(PHOTO).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content))


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def test_an_imported_loss_is_offered_in_three_formats(client: TestClient, loss: dict) -> None:
    assert loss["name"] == "jpeg"
    assert loss["job_id"] is None
    assert loss["manifest"]["task"] == {"kind": "jpeg", "quality": [7, 10]}
    assert {file["format"] for file in loss["files"]} == {"safetensors", "pth", "pt2"}
    url = f"/v1/losses/{loss['id']}"
    assert client.get(url).json() == loss
    assert loss in client.get("/v1/losses").json()["data"]
    for file in loss["files"]:
        answer = client.get(f"{url}/content?format={file['format']}")
        assert len(answer.content) == file["size"]
        assert sha256(answer.content).hexdigest() == file["sha256"]
        assert answer.headers["etag"] == f'"{file["sha256"]}"'
        name = f'filename="jpeg.{file["format"]}"'
        assert name in answer.headers["content-disposition"]
    assert client.get(f"{url}/content").content == ARTEFACT
    assert client.get(f"{url}/content?format=onnx").status_code == 422


def test_its_downloads_compute_the_same(client: TestClient, loss: dict) -> None:
    url = f"/v1/losses/{loss['id']}/content"
    pair = tensor(jpeg(10)), tensor(PHOTO)
    expected = load_loss(ARTEFACT)(*pair)
    assert torch.equal(load_loss(client.get(f"{url}?format=pth").content)(*pair), expected)
    program = torch.export.load(io.BytesIO(client.get(f"{url}?format=pt2").content))
    torch.testing.assert_close(program.module()(*pair), expected)


def test_our_state_dicts_are_imported_too(client: TestClient) -> None:
    files = {"file": ("mine.pth", state_dicts(*make_discriminators()))}
    answer = client.post("/v1/losses/import", files=files, data={"name": "from a friend"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "from a friend"
    assert answer.json()["sha256"] == sha256(ARTEFACT).hexdigest()


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the authors' weights are not on this machine")
def test_the_authors_file_is_imported_with_its_task(client: TestClient) -> None:
    answer = client.post(
        "/v1/losses/import",
        files={"file": ("Ds_JPEG.pth", PUBLISHED.read_bytes())},
        data={"task": json.dumps({"kind": "jpeg"})},
    )
    assert answer.status_code == 201, answer.text
    manifest = answer.json()["manifest"]
    assert manifest["origin"] == "imported"
    assert manifest["task"] == {"kind": "jpeg", "quality": [7, 10]}
    assert manifest["taps"] == "published"
    assert len(manifest["widths"]) == 8


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch /tmp/mdf-was-here",)


def evil_torch_file() -> bytes:
    content = io.BytesIO()
    torch.save({"scales": Evil()}, content)
    return content.getvalue()


def evil_legacy_file() -> bytes:
    content = io.BytesIO()
    torch.save([Evil()], content, _use_new_zipfile_serialization=False)
    return content.getvalue()


BAD = {
    "no bytes": (b"", "empty"),
    "text": (b"just a letter to you", "not a loss"),
    "truncated": (ARTEFACT[:-100], ""),
    "damaged header": (ARTEFACT[:8] + b"{" * 500 + ARTEFACT[508:], ""),
    "pickle": (pickle.dumps(Evil()), "system"),
    "evil zip": (evil_torch_file(), "system"),
    "evil legacy": (evil_legacy_file(), "system"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_loss_file_is_refused_in_words(client: TestClient, assert_problem, kind: str) -> None:
    content, words = BAD[kind]
    answer = client.post("/v1/losses/import", files={"file": ("x.pth", content)})
    problem = assert_problem(answer, 422, "bad_loss_file")
    assert words in problem["detail"]
    assert not Path("/tmp/mdf-was-here").exists()


@pytest.mark.parametrize(
    ("task", "pointer"),
    [
        ('{"kind": "jpeg", "quality": 0}', "/task/quality"),
        ('{"kind": "magic"}', "/task"),
        ('{"kind": "sisr", "x": 1}', "/task/x"),
        ("[]", "/task"),
    ],
)
def test_a_bad_task_is_pointed_at(
    client: TestClient, assert_problem, task: str, pointer: str
) -> None:
    answer = client.post(
        "/v1/losses/import", files={"file": ("x.pth", ARTEFACT)}, data={"task": task}
    )
    problem = assert_problem(answer, 422, "bad_input")
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]
    broken = client.post(
        "/v1/losses/import", files={"file": ("x.pth", ARTEFACT)}, data={"task": "{"}
    )
    assert_problem(broken, 400, "bad_request")


def test_a_comparison_is_that_of_the_library(client: TestClient, loss: dict) -> None:
    image, reference = upload(client, jpeg(10)), upload(client, PHOTO)
    wanted = {"image_id": image, "reference_image_id": reference, "maps": True}
    answer = client.post(f"/v1/losses/{loss['id']}/compare", json=wanted)
    assert answer.status_code == 200, answer.text
    compared = answer.json()
    local = load_loss(ARTEFACT)
    pair = tensor(jpeg(10)), tensor(PHOTO)
    assert compared["value"] == pytest.approx(float(local(*pair)), rel=1e-5)
    terms = local.terms(*pair)
    assert len(compared["terms"]) == terms.numel()
    for term in compared["terms"]:
        tap = local.tap_names.index(term["tap"])
        assert term["value"] == pytest.approx(float(terms[term["scale"], tap]), rel=1e-5)
    maps = local.maps(*pair)
    assert len(compared["maps"]) == len(maps)
    for shown, exact in zip(compared["maps"], maps, strict=True):
        assert (shown["scale"], shown["tap"]) == (exact.scale, exact.tap)
        assert shown["peak"] == pytest.approx(float(exact.map.max()), rel=1e-4)
        picture = np.asarray(Image.open(io.BytesIO(b64decode(shown["png_base64"]))))
        assert picture.shape == (*exact.map.shape[1:], 3)
        brightest = np.unravel_index(int(exact.map.argmax()), exact.map.shape)[1:]
        assert picture[brightest].sum() == picture.sum(axis=2).max()


def test_a_gradient_is_drawn_if_asked(client: TestClient, loss: dict) -> None:
    image, reference = upload(client, jpeg(10)), upload(client, PHOTO)
    wanted = {"image_id": image, "reference_image_id": reference, "gradient": True}
    answer = client.post(f"/v1/losses/{loss['id']}/compare", json=wanted)
    assert answer.status_code == 200, answer.text
    shown = answer.json()["gradient"]
    moved = tensor(jpeg(10)).requires_grad_()
    load_loss(ARTEFACT)(moved, tensor(PHOTO)).backward()
    assert moved.grad is not None
    push = -moved.grad[0].sum(0).numpy()
    assert (np.abs(push) > shown["peak"]).mean() == pytest.approx(0.005, abs=1e-3)
    picture = np.asarray(Image.open(io.BytesIO(b64decode(shown["png_base64"])))).astype(int)
    assert picture.shape == (96, 128, 3)
    strong = np.abs(push) > 0.5 * shown["peak"]
    redder = picture[..., 0] > picture[..., 2]
    np.testing.assert_array_equal(redder[strong], push[strong] > 0)


def test_a_loss_is_renamed(client: TestClient, loss: dict, assert_problem) -> None:
    url = f"/v1/losses/{loss['id']}"
    renamed = client.patch(url, json={"name": "faces, quality 10"})
    assert renamed.status_code == 200, renamed.text
    assert renamed.json() == loss | {"name": "faces, quality 10"}
    assert client.get(url).json()["name"] == "faces, quality 10"
    assert_problem(client.patch(url, json={"name": "a\nb"}), 422, "bad_input")
    assert_problem(client.patch("/v1/losses/loss_0", json={"name": "x"}), 404, "not_found")
    client.patch(url, json={"name": loss["name"]})


def test_equal_images_differ_by_nothing(client: TestClient, loss: dict) -> None:
    image = upload(client, PHOTO)
    wanted = {"image_id": image, "reference_image_id": image}
    compared = client.post(f"/v1/losses/{loss['id']}/compare", json=wanted).json()
    assert compared["value"] == 0
    assert compared["maps"] == []
    assert compared["gradient"] is None


def test_what_cannot_be_compared_is_refused(client: TestClient, loss: dict, assert_problem) -> None:
    url = f"/v1/losses/{loss['id']}/compare"
    image, other = upload(client, PHOTO), upload(client, PHOTO[:64])
    large = upload(client, np.zeros((1500, 1500, 3), np.uint8))
    for names, words in (
        ((image, other), "one size"),
        ((large, large), "megapixels"),
    ):
        wanted = dict(zip(("image_id", "reference_image_id"), names, strict=True))
        problem = assert_problem(client.post(url, json=wanted), 422, "bad_input")
        assert words in problem["detail"]
    wanted = {"image_id": image, "reference_image_id": "img_0"}
    problem = assert_problem(client.post(url, json=wanted), 422, "bad_input")
    assert problem["errors"] == [{"pointer": "/reference_image_id", "detail": "no such image"}]
    wanted = {"image_id": image, "reference_image_id": image}
    assert_problem(client.post("/v1/losses/loss_0/compare", json=wanted), 404, "not_found")


def test_a_file_that_vanishes_meanwhile_is_not_found(
    client: TestClient, loss: dict, assert_problem
) -> None:
    blobs = client.app.state.runtime.installation.blobs  # type: ignore[attr-defined]  # our app
    image = upload(client, PHOTO[:48])
    blobs.delete(f"images/{client.get(f'/v1/images/{image}').json()['digest']}.png")
    wanted = {"image_id": image, "reference_image_id": image}
    answer = client.post(f"/v1/losses/{loss['id']}/compare", json=wanted)
    assert_problem(answer, 404, "not_found")
    wanted = {"kind": "pyramid-permutation", "image_id": image}
    assert_problem(client.post("/v1/images/synthesize", json=wanted), 404, "not_found")


def test_the_card_says_what_it_is_and_how_to_use_it(client: TestClient, loss: dict) -> None:
    answer = client.get(f"/v1/losses/{loss['id']}/card")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    for words in (
        "# jpeg",
        "removal of JPEG artefacts, quality 7 to 10",
        "mdf.load_loss(",
        "0" * 64,
        loss["sha256"],
    ):
        assert words in answer.text


@pytest.mark.parametrize(
    "wanted",
    [
        {"kind": "pink-noise", "width": 64, "height": 48},
        {"kind": "contrast-rings", "width": 64, "height": 48, "period": 8},
    ],
)
def test_a_seed_is_synthesised(client: TestClient, wanted: dict) -> None:
    answer = client.post("/v1/images/synthesize", json=wanted)
    assert answer.status_code == 201, answer.text
    image = answer.json()
    assert (image["width"], image["height"]) == (64, 48)
    assert image["source"]["synthesis"]["kind"] == wanted["kind"]
    assert client.post("/v1/images/synthesize", json=wanted).status_code == 200


def test_a_permutation_has_the_size_of_its_image(client: TestClient, assert_problem) -> None:
    wanted = {"kind": "pyramid-permutation", "image_id": upload(client, PHOTO)}
    image = client.post("/v1/images/synthesize", json=wanted).json()
    assert (image["width"], image["height"]) == (128, 96)
    missing = client.post("/v1/images/synthesize", json=wanted | {"image_id": "img_0"})
    problem = assert_problem(missing, 422, "bad_input")
    assert problem["errors"] == [{"pointer": "/image_id", "detail": "no such image"}]
    unknown = client.post("/v1/images/synthesize", json={"kind": "magic"})
    assert_problem(unknown, 422, "bad_input")


# Takes the file's loss away: it comes last.
def test_a_file_goes_with_the_last_loss_that_has_it(client: TestClient, loss: dict) -> None:
    blobs = client.app.state.runtime.installation.blobs  # type: ignore[attr-defined]  # our app
    twin = client.post("/v1/losses/import", files={"file": ("b.safetensors", ARTEFACT)}).json()
    shared = f"losses/{loss['sha256']}.safetensors"
    for other in client.get("/v1/losses").json()["data"]:
        if other["id"] not in (loss["id"], twin["id"]):
            client.delete(f"/v1/losses/{other['id']}")
    assert client.delete(f"/v1/losses/{twin['id']}").json() == {"id": twin["id"], "bytes_freed": 0}
    assert client.get(f"/v1/losses/{loss['id']}/content").content == ARTEFACT
    size = sum(file["size"] for file in loss["files"])
    assert client.delete(f"/v1/losses/{loss['id']}").json()["bytes_freed"] == size
    assert shared not in blobs.keys("losses")
    assert client.get(f"/v1/losses/{loss['id']}").status_code == 404
