"""Images over HTTP: uploads good and bad, lists, downloads, deletion."""

import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from skimage import data

PHOTO = np.ascontiguousarray(data.astronaut()[:96, :128])


def encoded(form: str, pixels: np.ndarray = PHOTO, **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, form, **options)
    return content.getvalue()


def test_an_upload_is_kept_and_comes_back_as_png(client: TestClient) -> None:
    answer = client.post("/v1/images", files={"file": ("my photo.tiff", encoded("TIFF"))})
    assert answer.status_code == 201
    image = answer.json()
    assert answer.headers["location"] == f"/v1/images/{image['id']}"
    assert (image["width"], image["height"], image["name"]) == (128, 96, "my photo.tiff")
    assert image["source"]["format"] == "TIFF"
    assert image["created"].endswith("Z")
    assert client.get(f"/v1/images/{image['id']}").json() == image
    content = client.get(f"/v1/images/{image['id']}/content")
    assert content.headers["content-type"] == "image/png"
    assert len(content.content) == image["size"]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content.content))), PHOTO)


def test_the_same_pixels_are_kept_once(client: TestClient) -> None:
    first = client.post("/v1/images", files={"file": ("a.png", encoded("PNG"))})
    second = client.post("/v1/images", files={"file": ("b.webp", encoded("WebP", lossless=True))})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    assert len(client.get("/v1/images").json()["data"]) == 1


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("a/b:c?.jpg", "a-b-c-.jpg"),
        ("Bär 🐻.png", "Bär 🐻.png"),
        ("...", "image"),
        ("\x9b2J\u202egnp.exe", "2J-gnp.exe"),
        ("x" * 400 + ".png", "x" * 100),
    ],
)
def test_a_file_name_is_made_harmless(client: TestClient, name: str, kept: str) -> None:
    image = client.post("/v1/images", files={"file": (name, encoded("PNG"))}).json()
    assert image["name"] == kept
    disposition = client.get(f"/v1/images/{image['id']}/content").headers["content-disposition"]
    assert disposition.startswith("attachment; filename=")
    assert disposition.isascii()


@pytest.mark.parametrize("charset", ["utf-7", "undefined", "idna", "utf-16", ""])
def test_a_form_in_another_charset_is_refused(
    client: TestClient, assert_problem, charset: str
) -> None:
    """Python decodes lone surrogates from UTF-7; some of its codecs refuse in ways of their own."""
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a+2AA-.png"\r\n\r\n'
    body += encoded("PNG") + b"\r\n--x--\r\n"
    for path in ("/v1/images", "/v1/losses/import", "/v1/models/import", "/v1/models/x/restore"):
        refused = client.post(path, content=body, headers=headers | {"Idempotency-Key": "k"})
        problem = assert_problem(refused, 415, "unsupported_media_type")
        assert f"takes forms in UTF-8, not in the charset {charset!r}" in problem["detail"]
    headers = {"Content-Type": 'Multipart/Form-Data; boundary=x; charset="UTF-8"'}
    answer = client.post("/v1/images", content=body, headers=headers | {"Idempotency-Key": "k"})
    assert answer.status_code == 201, answer.text


BAD = {
    "no bytes": (b"", 422, "bad_image"),
    "not an image": (b"hello" * 100, 422, "bad_image"),
    "truncated": (encoded("PNG")[:-500], 422, "bad_image"),
    "one pixel": (encoded("PNG", PHOTO[:1, :1]), 422, "bad_image"),
    "animated": (
        encoded("PNG", save_all=True, append_images=[Image.fromarray(PHOTO[::-1].copy())]),
        422,
        "bad_image",
    ),
    "GIF": (encoded("GIF"), 415, "unsupported_image"),
    "BMP": (encoded("BMP"), 415, "unsupported_image"),
    "too many bytes in the file": (encoded("PNG") + bytes(25 * 1024 * 1024), 413, "too_large"),
    "too many bytes in the body": (bytes(26 * 1024 * 1024), 413, "too_large"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_upload_is_refused_in_words(client: TestClient, assert_problem, kind: str) -> None:
    content, status, code = BAD[kind]
    answer = client.post("/v1/images", files={"file": ("x.png", content)})
    assert_problem(answer, status, code)
    assert client.get("/v1/images").json()["data"] == []


def test_a_body_that_is_no_form_with_a_file_is_refused(client: TestClient, assert_problem) -> None:
    other = client.post("/v1/images", files={"photo": ("x.png", encoded("PNG"))})
    problem = assert_problem(other, 422, "bad_input")
    assert {"pointer": "/photo", "detail": "is not a known field"} in problem["errors"]
    text = client.post("/v1/images", files={"file": (None, "just text")})
    problem = assert_problem(text, 422, "bad_input")
    assert problem["errors"] == [
        {"pointer": "/file", "detail": "must be a file: a multipart part with a filename"}
    ]
    plain = client.post("/v1/images", content=encoded("PNG"), headers={"Content-Type": "image/png"})
    assert (
        "takes multipart/form-data"
        in assert_problem(plain, 415, "unsupported_media_type")["detail"]
    )
    assert_problem(client.post("/v1/images"), 415, "unsupported_media_type")
    for boundary in ("", "; boundary=x"):
        headers = {"Content-Type": f"multipart/form-data{boundary}"}
        broken = client.post("/v1/images", content=b"--y\r\nnothing", headers=headers)
        assert_problem(broken, 400, "bad_request")
    two = [("file", ("x.png", encoded("PNG"))), ("file", ("y.png", encoded("PNG")))]
    assert_problem(client.post("/v1/images", files=two), 400, "bad_request")


def test_images_come_in_pages(client: TestClient, assert_problem) -> None:
    made = [
        client.post(
            "/v1/images", files={"file": ("x.png", encoded("PNG", PHOTO[: 40 + place]))}
        ).json()["id"]
        for place in range(5)
    ]
    found, url = [], "/v1/images?limit=2"
    for _ in range(3):
        answer = client.get(url)
        found += [image["id"] for image in answer.json()["data"]]
        url = answer.links.get("next", {}).get("url", "")
        assert (answer.json()["next_cursor"] is None) == (not url)
    assert found == made[::-1]
    for query in ("limit=0", "limit=201", "limit=x", "cursor=x"):
        problem = assert_problem(client.get(f"/v1/images?{query}"), 422, "bad_input")
        assert query.partition("=")[0] in problem["detail"]


def test_a_deleted_image_is_gone(client: TestClient, image_id: str, assert_problem) -> None:
    size = client.get(f"/v1/images/{image_id}").json()["size"]
    answer = client.delete(f"/v1/images/{image_id}")
    assert (answer.status_code, answer.json()) == (200, {"id": image_id, "bytes_freed": size})
    for answer in (
        client.get(f"/v1/images/{image_id}"),
        client.get(f"/v1/images/{image_id}/content"),
        client.delete(f"/v1/images/{image_id}"),
        client.get("/v1/images/nonsense"),
        client.get("/v1/images/%00%ff"),
    ):
        assert_problem(answer, 404, "not_found")


def test_a_seed_in_use_stays(
    client: TestClient, image_id: str, job_id: str, assert_problem
) -> None:
    problem = assert_problem(client.delete(f"/v1/images/{image_id}"), 409, "conflict")
    assert job_id in problem["detail"]
