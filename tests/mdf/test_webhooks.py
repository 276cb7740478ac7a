"""A receiver believes what the service signed, once it is fresh, and nothing else."""

import subprocess
import sys
import time
from base64 import b64encode

import pytest

from mdf.errors import WebhookError
from mdf.webhooks import TOLERANCE_SECONDS, sign, verify

# A message as other implementations of Standard Webhooks sign it: of the project's examples.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EXAMPLE = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

BODY = b'{"type":"job.succeeded","timestamp":"2026-01-02T03:04:05.678Z","data":{"id":"job_1"}}'


def headers(secret: str = SECRET, *, age: float = 0, body: bytes = BODY) -> dict[str, str]:
    sent = int(time.time() - age)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(sent),
        "webhook-signature": sign(secret, "msg_1", sent, body),
    }


def test_signatures_are_those_of_other_implementations() -> None:
    assert sign(SECRET, *EXAMPLE) == SIGNATURE
    assert sign(SECRET.removeprefix("whsec_"), *EXAMPLE) == SIGNATURE


def test_a_message_that_is_signed_and_fresh_is_read() -> None:
    message = verify(SECRET, headers(), BODY)
    assert (message.id, message.type, message.data) == ("msg_1", "job.succeeded", {"id": "job_1"})
    assert message.timestamp.isoformat() == "2026-01-02T03:04:05.678000+00:00"


def test_the_case_of_headers_does_not_matter() -> None:
    titled = {name.title(): value for name, value in headers().items()}
    assert verify(SECRET, titled, BODY).id == "msg_1"


def test_one_right_signature_among_several_is_enough() -> None:
    given = headers()
    others = ["v1,AAAA", "v1a,ed25519", "v2," + "x" * 44, "v1,é"]
    given["webhook-signature"] = " ".join([*others[:2], given["webhook-signature"], *others[2:]])
    assert verify(SECRET, given, BODY).id == "msg_1"


@pytest.mark.parametrize(
    "forged",
    [
        {"webhook-signature": "v1," + b64encode(bytes(32)).decode()},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v2" + SIGNATURE[2:]},
        {"webhook-signature": SIGNATURE},
        {"webhook-id": "msg_2"},
        {"webhook-id": "msg_1.1"},
        {"webhook-timestamp": str(int(time.time()) + 1)},
    ],
)
def test_what_the_service_did_not_sign_is_refused(forged: dict[str, str]) -> None:
    with pytest.raises(WebhookError, match="no signature of the message is right"):
        verify(SECRET, headers() | forged, BODY)


def test_a_body_that_was_changed_is_refused() -> None:
    for body in (BODY + b" ", BODY.replace(b"job_1", b"job_2"), b""):
        with pytest.raises(WebhookError, match="no signature"):
            verify(SECRET, headers(), body)


def test_a_signature_of_another_secret_is_refused() -> None:
    other = "whsec_" + b64encode(bytes(32)).decode()
    with pytest.raises(WebhookError, match="another webhook's"):
        verify(SECRET, headers(other), BODY)


@pytest.mark.parametrize(("age", "told"), [(310, "ago"), (-310, "in the future")])
def test_a_message_outside_the_window_is_refused(age: float, told: str) -> None:
    assert TOLERANCE_SECONDS == 300
    with pytest.raises(WebhookError, match=rf"{told}; 300 s are allowed"):
        verify(SECRET, headers(age=age), BODY)
    assert verify(SECRET, headers(age=age), BODY, tolerance=400).id == "msg_1"


@pytest.mark.parametrize("age", [290, -290])
def test_a_message_inside_the_window_is_taken(age: float) -> None:
    assert verify(SECRET, headers(age=age), BODY).id == "msg_1"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_is_missing_is_named(name: str) -> None:
    for given in (headers() | {name: ""}, {k: v for k, v in headers().items() if k != name}):
        with pytest.raises(WebhookError, match=f"has no header {name}"):
            verify(SECRET, given, BODY)


@pytest.mark.parametrize("sent", ["soon", "1.5", "-1", "١٢", "9" * 4000, "1e9", " 1"])
def test_a_timestamp_that_is_none_is_refused(sent: str) -> None:
    with pytest.raises(WebhookError, match="must be seconds since 1970"):
        verify(SECRET, headers() | {"webhook-timestamp": sent}, BODY)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "whsec_é"])
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(WebhookError, match="24 to 64 bytes in base64") as caught:
        verify(secret, headers(), BODY)
    assert "c2hvcnQ" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"\xff", b'{"type": 1, "data": 2}'])
def test_a_signed_body_that_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookError, match="is signed, and its body is not what"):
        verify(SECRET, headers(body=body), body)


def test_receivers_need_neither_torch_nor_a_client() -> None:
    program = "import sys, mdf.webhooks; print({'torch', 'httpx'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"
