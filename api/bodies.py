"""Request bodies: how large, of which type, and strict JSON."""

import asyncio
import inspect
import json
import math
import re
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
from fastapi import Request, Response, params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import Needs
from api.errors import problem
from services.errors import DiskFullError
from services.files import is_disk_full
from services.settings import Settings

if TYPE_CHECKING:
    from api.runtime import Runtime

MAX_JSON_BYTES = 1 << 20
# What pydantic and we have to look at. The longest list that a request may hold has 1000 items.
MAX_JSON_VALUES = 10_000
MAX_JSON_DEPTH = 64
# Of a name in an object: a refusal names the fields that nobody knows.
MAX_NAME = 200
# Of a whole number: what has more lies beyond the floating-point numbers.
MAX_DIGITS = 309
MAX_LOGIN_BYTES = 1 << 10  # sent by those whom nobody knows yet
# For a body's next bytes to come, or to make up for as much that came more slowly than this.
SILENCE_SECONDS = 60.0
SLOWEST = 8000.0  # bytes in a second
# For all of a login, which is short.
LOGIN_SECONDS = 30.0
# Boundaries, part headers and form fields around a file.
MULTIPART_BYTES = 1 << 17
# Of a form, until it is looked again whether the disk has room: others fill it too.
CHECKED_BYTES = 4 << 20
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

_FORM = "multipart/form-data"
# The route counts what comes, and keeps it as it comes.
_STREAMED = re.compile(r"/v1/datasets/[^/]+/content")
# Databases take it for the end of a text, or for an error.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TOO_DEEP = f"the body's JSON is nested too deeply: at most {MAX_JSON_DEPTH} levels are accepted"


class BodyCap:
    """Refuses a body that is too large before anything parses it, declared or streamed.

    One that does not come is not waited for: nobody holds a connection by being silent, or slow.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, counting its body."""
        if scope["type"] != "http" or _STREAMED.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        cap = _cap(scope["path"], self._settings)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > cap:
            response = problem(scope, status=413, code="too_large", detail=_too_large(cap))
            await response(scope, receive, send)
            return
        received, is_awaited, is_answered = 0, True, False
        seconds, pace = SILENCE_SECONDS, SLOWEST
        if scope["path"] == LOGIN:
            seconds, pace = LOGIN_SECONDS, math.inf
        patience = seconds

        async def tell(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        async def count() -> Message:
            nonlocal received, is_awaited, patience
            if not is_awaited:
                return await receive()
            asked = time.monotonic()
            try:
                async with asyncio.timeout(patience):
                    message = await receive()
            except TimeoutError:
                if is_answered:  # it was not needed
                    return {"type": "http.disconnect"}
                raise HTTPException(
                    408, "the request's body has not come, or too slowly: send it again"
                ) from None
            is_awaited = message.get("more_body", False)
            size = len(message.get("body", b""))
            patience = min(patience - (time.monotonic() - asked) + size / pace, seconds)
            received += size
            if received > cap:
                raise HTTPException(413, _too_large(cap))
            return message

        await self._app(scope, count, tell)


class StrictRoute(APIRoute):
    """A route that takes a body of its own media type only, and JSON as RFC 8259 has it.

    Who lacks the scope is told so before a byte of the body is read.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _in_thread(endpoint), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, given a stricter request."""
        handle = super().get_route_handler()
        needs = [each.call for each in self.dependant.dependencies if isinstance(each.call, Needs)]
        wanted = None
        if self.body_field is not None:
            form = isinstance(self.body_field.field_info, params.Form)
            wanted = _FORM if form else "application/json"
        # One that reads its body itself says in the document what it takes.
        documented = (self.openapi_extra or {}).get("requestBody", {}).get("content", ())
        takes_form = wanted == _FORM or (wanted is None and _FORM in documented)
        fields = {field.alias for field in self.dependant.body_params}

        async def handle_strictly(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            for need in needs:
                await need(strict, None)
            if wanted is not None:
                _check_media_type(strict, wanted)
            if not takes_form or _media_type(strict) != _FORM:
                return await handle(strict)
            async with _reading_form(strict) as form:
                if wanted is not None:
                    _check_fields(form, fields)
                return await handle(strict)

        return handle_strictly


class StrictRequest(Request):
    """Reads JSON that holds finite numbers and whole characters only, and forms into their room."""

    take_room: Callable[[int], None] | None = None
    check_disk: Callable[[], None]  # where room is taken

    async def stream(self) -> AsyncGenerator[bytes]:
        """The body as it comes."""
        unchecked = 0
        async with aclosing(super().stream()) as chunks:
            async for chunk in chunks:
                if self.take_room is not None:
                    self.take_room(len(chunk))
                    unchecked += len(chunk)
                    if unchecked >= CHECKED_BYTES:
                        await anyio.to_thread.run_sync(self.check_disk)
                        unchecked = 0
                yield chunk

    async def json(self) -> Any:
        """The body, parsed once."""
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json


def _in_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """A function as FastAPI runs it, but what it gives is checked on the event loop.

    Of a plain function FastAPI has that done by one more thread, which takes longer than to check.
    """
    if inspect.iscoroutinefunction(endpoint):
        return endpoint

    @wraps(endpoint)
    async def run(**arguments: Any) -> Any:
        return await run_in_threadpool(endpoint, **arguments)

    return run


def parse_json(content: bytes) -> Any:
    """Strict JSON of bounded size; HTTPException 400 says what is wrong with it."""
    _check_count(content)
    try:
        parsed = json.loads(
            content.decode(),
            object_pairs_hook=_named_once,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
        )
        _check_depth(parsed)
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
        raise HTTPException(400, _TOO_DEEP) from None
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


def largest_form(settings: Settings) -> int:
    """The bytes that a form may have at most, of those that hold a file."""
    return max(settings.max_model_bytes, settings.max_upload_bytes) + MULTIPART_BYTES


def _cap(path: str, settings: Settings) -> int:
    if path == LOGIN:
        return MAX_LOGIN_BYTES
    if path == MODEL_UPLOAD:
        return settings.max_model_bytes + MULTIPART_BYTES
    if UPLOADS.fullmatch(path):
        return settings.max_upload_bytes + MULTIPART_BYTES
    return MAX_JSON_BYTES


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_media_type(request: Request, wanted: str) -> None:
    given = _media_type(request)
    if given != wanted:
        raise HTTPException(
            415, f"{request.url.path} takes {wanted}, not {given or 'a body without Content-Type'}"
        )


@asynccontextmanager
async def _reading_form(request: StrictRequest) -> AsyncIterator[FormData]:
    """A form, parsed once. What has come of it has its room until the request is done."""
    _check_charset(request)
    runtime: Runtime = request.app.state.runtime
    owner = request.state.caller.owner
    declared = request.headers.get("content-length", "")
    # Refused before it comes if there is no room, but nobody takes room by announcing much.
    runtime.forms.check(owner, int(declared) if declared.isdecimal() else 0)
    request.check_disk = runtime.installation.blobs.check_free
    with runtime.forms.taken_by(owner, 0) as request.take_room:
        await anyio.to_thread.run_sync(request.check_disk)
        try:
            form = await request.form(**FORM_LIMITS)
        except OSError as error:
            if is_disk_full(error):
                raise DiskFullError(
                    f"the temporary folder {tempfile.gettempdir()} has no room for what is sent"
                ) from error
            raise
        try:
            yield form
        finally:
            await form.close()


def _check_charset(request: Request) -> None:
    """Refuse what names another encoding: Python's have names that no form means."""
    _, given = parse_options_header(request.headers["content-type"])
    charset = given.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in ("utf-8", "utf8"):
        raise HTTPException(
            415, f"{request.url.path} takes forms in UTF-8, not in the charset {charset[:40]!r}"
        )


def _check_fields(form: FormData, known: set[str]) -> None:
    """Refuse a form with fields that nobody reads, as JSON with such."""
    located = [
        {"loc": ("body", name), "type": "extra_forbidden"} for name in form if name not in known
    ]
    if located:
        raise RequestValidationError(located, body={})


def _too_large(cap: int) -> str:
    return f"the request's body is too large: at most {cap} bytes are accepted here"


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object no name of which stands twice: readers differ in which of the values counts."""
    made = dict(pairs)
    if len(made) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {name[:MAX_NAME]!r} stands twice in one object")
    return made


def _check_count(content: bytes) -> None:
    """Refuse what holds too many values and names, before any of them is made.

    Each but the first stands after one of four signs, which count only outside of texts.
    """
    if _signs(content) < MAX_JSON_VALUES:
        return
    unescaped = content.replace(rb"\\", b"").replace(rb"\"", b"")
    if _signs(b"".join(unescaped.split(b'"')[::2])) >= MAX_JSON_VALUES:
        raise HTTPException(
            400,
            "the body's JSON holds too much: at most "
            f"{MAX_JSON_VALUES} values and names of fields are accepted",
        )


def _signs(content: bytes) -> int:
    return sum(map(content.count, (b",", b":", b"[", b"{")))


def _check_depth(parsed: Any) -> None:
    """Refuse what is nested deeper than what works on it later can follow, and endless names."""
    level = [parsed]
    for _ in range(MAX_JSON_DEPTH + 1):
        lists = [each for each in level if isinstance(each, list)]
        objects = [each for each in level if isinstance(each, dict)]
        if not lists and not objects:
            return
        longest = max(map(len, chain.from_iterable(objects)), default=0)
        if longest > MAX_NAME:
            raise HTTPException(
                400,
                f"the name of a field has {longest} characters: at most {MAX_NAME} are accepted",
            )
        level = [
            *chain.from_iterable(lists),
            *chain.from_iterable(each.values() for each in objects),
        ]
    raise HTTPException(400, _TOO_DEEP)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is out of the range of numbers")
    return number


def _bounded_int(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"{text[:40]}… is out of the range of numbers")
    return int(text)
