"""Messages that the service sends to webhooks: made and checked as Standard Webhooks has it.

A receiver checks each message, with the secret that it was told when the webhook was made:

    message = mdf.webhooks.verify(secret, request.headers, request.body)
    if message.type == "job.succeeded":
        print(message.data["id"], message.data["loss_id"])

A message may come twice: `Message.id` tells.
"""

import hmac
import json
import time
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mdf.errors import WebhookError

SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with
SECRET_BYTES = range(24, 65)  # how many the standard allows
TOLERANCE_SECONDS = 300.0

_VERSION = "v1,"


@dataclass(frozen=True)
class Message:
    """A message that was checked: it comes from the service, and is not an old one."""

    id: str  # the same however often the message is sent
    type: str  # such as "job.succeeded"
    timestamp: datetime  # of what it tells
    data: dict[str, Any]  # of a job what `GET /v1/jobs/{id}` answers


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature of a message, as it stands in `webhook-signature`.

    Args:
        secret: `whsec_` and 24 to 64 bytes in base64.
        message_id: the header `webhook-id`.
        timestamp: the header `webhook-timestamp`, seconds since 1970.
        body: the request's, byte for byte.

    Raises: WebhookError for a secret that is none.
    """
    signed = b"%b.%d.%b" % (message_id.encode("utf-8", "surrogateescape"), timestamp, body)
    return _VERSION + b64encode(hmac.digest(_key(secret), signed, "sha256")).decode()


def verify(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance: float = TOLERANCE_SECONDS,
) -> Message:
    """The message of a request, once it is proved to be the service's and fresh.

    Args:
        secret: of the webhook, `whsec_…`.
        headers: the request's, in whatever case.
        body: the request's, byte for byte: not parsed and written again.
        tolerance: seconds that the message may be old, or ahead of this machine's clock.

    Raises: WebhookError, and nothing in the message is to be believed.
    """
    given = {name.lower(): value for name, value in headers.items()}
    message_id, sent, signatures = (
        _header(given, name) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    )
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 16):
        raise WebhookError(f"webhook-timestamp is {sent[:40]!r}; it must be seconds since 1970")
    expected = sign(secret, message_id, int(sent), body).encode()
    # All are compared, whichever matches: the time tells nothing.
    matches = [
        hmac.compare_digest(expected, signature.encode("utf-8", "surrogateescape"))
        for signature in signatures.split()
    ]
    if not any(matches):
        raise WebhookError(
            "no signature of the message is right: it is not the service's, its body was changed "
            "on the way, or the secret is another webhook's"
        )
    age = time.time() - int(sent)
    if abs(age) > tolerance:
        raise WebhookError(
            f"the message was sent {abs(age):.0f} s {'ago' if age > 0 else 'in the future'}; "
            f"{tolerance:g} s are allowed: it is an old one sent again, or a clock is wrong"
        )
    return _read(message_id, body)


def _key(secret: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (Base64Error, ValueError):
        key = b""
    if len(key) not in SECRET_BYTES:
        raise WebhookError(
            f"the secret is none: it must be {SECRET_PREFIX} and {SECRET_BYTES.start} to "
            f"{SECRET_BYTES.stop - 1} bytes in base64, as the service told it"
        )
    return key


def _header(headers: Mapping[str, str], name: str) -> str:
    if not headers.get(name):
        raise WebhookError(f"the request has no header {name}: it is not a webhook's message")
    return headers[name]


def _read(message_id: str, body: bytes) -> Message:
    try:
        content = json.loads(body)
        return Message(
            id=message_id,
            type=str(content["type"]),
            timestamp=datetime.fromisoformat(content["timestamp"]),
            data=dict(content["data"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise WebhookError(
            f"the message {message_id} is signed, and its body is not what this version reads: "
            f"{error!r}"
        ) from error
