"""Creating POSTs: the effect and its answer in one transaction, once per Idempotency-Key."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile

from api.runtime import Shared
from services import idempotency
from services.access import Caller
from services.errors import IdempotencyInFlightError
from services.idempotency import Answer
from services.installation import Installation

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description="names this request: sent again within 24 hours, it has the first answer, "
        "with `Idempotency-Replayed: true`, and is not done twice",
    ),
]


@dataclass(frozen=True)
class Created:
    """What a creating request made."""

    status: int
    body: BaseModel
    location: str
    # Fields that are told once: a replay has null in their place.
    told_once: frozenset[str] = field(default_factory=frozenset)


class Replayed(Exception):  # noqa: N818 - an answer, not an error
    """The request was done before; this is what it was answered."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True)
class Creation:
    """One creating request."""

    installation: Installation
    owner: str
    key: str | None
    digest: str

    def commit(self, effect: Callable[[Session], Created]) -> Response:
        """Do it, unless it was done in the meantime, and answer."""
        with self.installation.database.write() as session:
            if self.key is None:
                return _respond(_answer(effect(session)))
            reservation = {"owner": self.owner, "key": self.key}
            idempotency.reserve(session, **reservation)
            reservation["request_digest"] = self.digest
            before = idempotency.recall(session, **reservation)
            if before is not None:
                return _respond(before, replayed=True)
            created = effect(session)
            answer = _answer(created)
            kept = Answer(
                answer.status,
                answer.body | dict.fromkeys(created.told_once),
                answer.headers,
            )
            idempotency.record(session, **reservation, answer=kept)
            return _respond(answer)


async def _creation(
    request: Request, shared: Shared, idempotency_key: IdempotencyKey = None
) -> AsyncIterator[Creation]:
    caller: Caller = request.state.caller
    if idempotency_key is None:
        yield Creation(shared.installation, caller.owner, None, "")
        return
    if len(request.headers.getlist("Idempotency-Key")) > 1:
        raise HTTPException(400, "a request has one Idempotency-Key at most")
    creation = Creation(
        shared.installation, caller.owner, idempotency_key, await _request_digest(request)
    )
    name = (caller.owner, idempotency_key)
    if name in shared.in_flight:
        raise IdempotencyInFlightError(
            "the first request with this Idempotency-Key is still being worked on; "
            "send it again in a moment for its answer"
        )
    shared.in_flight.add(name)
    try:
        before = await asyncio.to_thread(_recall, creation)
        if before is not None:
            raise Replayed(before)
        yield creation
    finally:
        shared.in_flight.discard(name)


# Ended with the route's function, before the answer is sent: a client that has it may
# send the request again at once.
Creating = Annotated[Creation, Depends(_creation, scope="function")]


def install(app: FastAPI) -> None:
    """Make `app` answer repeated requests."""

    @app.exception_handler(Replayed)
    async def replay(_: Request, replayed: Replayed) -> Response:
        return _respond(replayed.answer, replayed=True)


def _recall(creation: Creation) -> Answer | None:
    assert creation.key is not None  # noqa: S101 - only requests with a key come here
    with creation.installation.database.read() as session:
        return idempotency.recall(
            session, owner=creation.owner, key=creation.key, request_digest=creation.digest
        )


def _answer(created: Created) -> Answer:
    body = created.body.model_dump(mode="json")
    return Answer(created.status, body, {"Location": created.location})


def _respond(answer: Answer, *, replayed: bool = False) -> Response:
    headers = dict(answer.headers)
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response(
        json.dumps(answer.body, ensure_ascii=False).encode(),
        answer.status,
        headers,
        media_type="application/json",
    )


async def _request_digest(request: Request) -> str:
    """SHA-256 over what is asked: not over the bytes, which differ between equal forms."""
    content: Any
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        fields = (await request.form()).multi_items()
        content = sorted([[name, await _field_digest(value)] for name, value in fields])
    else:
        content = await request.json()
    asked = [request.method, request.url.path, content]
    if request.query_params:  # such as the format of a restored file
        asked.append(sorted(map(list, request.query_params.multi_items())))
    return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


async def _field_digest(value: str | UploadFile) -> str:
    if isinstance(value, str):
        return sha256(value.encode()).hexdigest()
    digest = await asyncio.to_thread(lambda: file_digest(value.file, "sha256").hexdigest())  # type: ignore[arg-type]  # asks for more than it uses
    await value.seek(0)
    return f"{value.filename}:{digest}"
