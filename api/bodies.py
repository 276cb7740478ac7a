"""Request bodies: how large, of which type, and strict JSON."""

import asyncio
import json
import math
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response, params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from services.settings import Settings

MAX_JSON_BYTES = 1 << 20
MAX_LOGIN_BYTES = 1 << 10  # sent by those whom nobody knows yet
# For the next bytes of a body to come.
SILENCE_SECONDS = 60.0
# For all of a login, which is short.
LOGIN_SECONDS = 30.0
# Boundaries, part headers and form fields around a file.
MULTIPART_BYTES = 1 << 17
# Where files are sent: images, and what is as small.
UPLOADS = re.compile(r"/v1/(images|images/[^/]*/measure|losses/import|models/[^/]*/restore)")
LOGIN = "/v1/session"
MODEL_UPLOAD = "/v1/models/import"
FORM_LIMITS: Any = {"max_files": 1, "max_fields": 8, "max_part_size": 1 << 16}
# What OpenAPI is told of forms: no file is empty, and that of an image is one of these.
NOT_EMPTY: Any = {"minLength": 1}
JSON_TEXT: Any = {"contentMediaType": "application/json"}
IMAGE_PART = {"file": {"contentType": "image/png, image/jpeg, image/webp, image/tiff"}}
IMAGE_FORM: Any = {"requestBody": {"content": {"multipart/form-data": {"encoding": IMAGE_PART}}}}

# The route counts what comes, and keeps it as it comes.
_STREAMED = re.compile(r"/v1/datasets/[^/]+/content")
# Databases take it for the end of a text, or for an error.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class BodyCap:
    """Refuses a body that is too large before anything parses it, declared or streamed.

    One that does not come is not waited for: nobody holds a connection by being silent.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, counting its body."""
        if scope["type"] != "http" or _STREAMED.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        cap = self._cap(scope["path"])
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > cap:
            response = problem(scope, status=413, code="too_large", detail=_too_large(cap))
            await response(scope, receive, send)
            return
        began, received, is_awaited, is_answered = time.monotonic(), 0, True, False

        async def tell(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        async def count() -> Message:
            nonlocal received, is_awaited
            if not is_awaited:
                return await receive()
            seconds = SILENCE_SECONDS
            if scope["path"] == LOGIN:
                seconds = began + LOGIN_SECONDS - time.monotonic()
            try:
                async with asyncio.timeout(seconds):
                    message = await receive()
            except TimeoutError:
                if is_answered:  # it was not needed
                    return {"type": "http.disconnect"}
                raise HTTPException(408, "the request's body has not come: send it again") from None
            is_awaited = message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > cap:
                raise HTTPException(413, _too_large(cap))
            return message

        await self._app(scope, count, tell)

    def _cap(self, path: str) -> int:
        if path == LOGIN:
            return MAX_LOGIN_BYTES
        if path == MODEL_UPLOAD:
            return self._settings.max_model_bytes + MULTIPART_BYTES
        if UPLOADS.fullmatch(path):
            return self._settings.max_upload_bytes + MULTIPART_BYTES
        return MAX_JSON_BYTES


class StrictRoute(APIRoute):
    """A route that takes a body of its own media type only, and JSON as RFC 8259 has it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, given a stricter request."""
        handle = super().get_route_handler()
        wanted = None
        if self.body_field is not None:
            form = isinstance(self.body_field.field_info, params.Form)
            wanted = "multipart/form-data" if form else "application/json"

        fields = {field.alias for field in self.dependant.body_params}

        async def handle_strictly(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            if wanted is not None:
                _check_media_type(strict, wanted)
            if wanted == "multipart/form-data":
                await _check_fields(strict, fields)
            return await handle(strict)

        return handle_strictly


class StrictRequest(Request):
    """Reads JSON that holds finite numbers and whole characters only."""

    async def json(self) -> Any:
        """The body, parsed once."""
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json


def parse_json(content: bytes) -> Any:
    """Strict JSON; HTTPException 400 says what is wrong with it."""
    try:
        parsed = json.loads(
            content.decode(), parse_constant=_refuse_constant, parse_float=_finite_float
        )
        if _NUL.search(content):
            raise HTTPException(400, "the body has a NUL character, which no text here holds")
        if b"\\u" in content:  # half of a surrogate pair is no character
            json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeError:
        raise HTTPException(400, "the body's text is not valid UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise HTTPException(400, f"the body is not valid JSON: {error.msg} ({where})") from None
    except RecursionError:
        raise HTTPException(400, "the body's JSON is nested too deeply") from None
    except ValueError as error:
        raise HTTPException(400, f"the body is not valid JSON: {error}") from None
    return parsed


def read_form_json(field: str, text: str, kind: TypeAdapter[Any]) -> dict[str, Any] | None:
    """The JSON that a form's field may hold, as plain data of that kind; None if it is empty.

    RequestValidationError says what is wrong with it, as with a body.
    """
    if not text:
        return None
    given = parse_json(text.encode())
    try:
        plain: dict[str, Any] = kind.dump_python(kind.validate_python(given), mode="json")
    except ValidationError as error:
        located = [fault | {"loc": ("body", field, *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(located, body={field: given}) from error
    return plain


def _check_media_type(request: Request, wanted: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != wanted:
        raise HTTPException(
            415, f"{request.url.path} takes {wanted}, not {given or 'a body without Content-Type'}"
        )


async def _check_fields(request: Request, known: set[str]) -> None:
    """Refuse a form with fields that nobody reads, as JSON with such; it is parsed once."""
    form = await request.form(**FORM_LIMITS)
    located = [
        {"loc": ("body", name), "type": "extra_forbidden"} for name in form if name not in known
    ]
    if located:
        await form.close()
        raise RequestValidationError(located, body={})


def _too_large(cap: int) -> str:
    return f"the request's body is too large: at most {cap} bytes are accepted here"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is out of the range of numbers")
    return number
