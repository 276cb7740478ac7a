"""`/v1/session`: a browser logs in with an API key, and out again."""

from datetime import timedelta

import anyio
from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers

from api import cookies
from api.access import PUBLIC, Reader
from api.bodies import StrictRoute
from api.errors import documented
from api.limits import count_request
from api.runtime import Installed, Shared
from api.schemas import SessionIn, SessionOut
from services import browser_sessions, keys, quotas
from services.access import SCOPES, Caller
from services.database.schema import BrowserSession
from services.errors import NotFoundError

router = APIRouter(prefix="/v1/session", tags=["access"], route_class=StrictRoute)


@router.post(
    "",
    status_code=201,
    operation_id="begin_session",
    dependencies=[PUBLIC],
    responses=documented(401, 403, 429, 503),
)
def begin_session(
    request: Request, response: Response, shared: Shared, wanted: SessionIn
) -> SessionOut:
    """Log a browser in with an API key: from here on, a cookie stands for the key.

    The cookie is kept from scripts and from other sites. What changes something is taken from
    pages of this origin only. The session ends when it expires, and with its key. To log in
    counts as a request of the key.
    """
    installed = shared.installation
    headers = Headers(scope=request.scope)
    cookies.check_page(request.scope, headers, "pages of another origin cannot log a browser in")
    caller = quotas.in_force(
        keys.authenticate(installed.database, wanted.api_key), installed.settings
    )
    anyio.from_thread.run(count_request, shared.rates, caller)
    lifetime = timedelta(hours=installed.settings.session_hours)
    with installed.database.write() as session:
        row, token = browser_sessions.begin(session, caller, lifetime=lifetime)
    cookies.give(response, request.scope, token, expires=row.expires)
    return _shown(row, caller)


@router.get("", operation_id="get_session", responses=documented(401, 403, 404))
def get_session(caller: Reader, installed: Installed) -> SessionOut:
    """The session that the request's cookie stands for."""
    with installed.database.read() as session:
        row = browser_sessions.get(session, caller.session_id) if caller.session_id else None
    if row is None:
        raise NotFoundError("there is no session: the caller has come without a cookie")
    return _shown(row, caller)


@router.delete("", status_code=204, operation_id="end_session", responses=documented(401, 403, 404))
def end_session(request: Request, response: Response, caller: Reader, installed: Installed) -> None:
    """Log the browser out: its cookie stands for nothing any more."""
    if caller.session_id is None:
        raise NotFoundError("there is no session: the caller has come without a cookie")
    with installed.database.write() as session:
        browser_sessions.end(session, caller.session_id)
    cookies.take(response, request.scope)
    # Files may be kept for a year: not for who uses the browser next.
    response.headers["Clear-Site-Data"] = '"cache"'


def _shown(row: BrowserSession, caller: Caller) -> SessionOut:
    return SessionOut(
        owner=caller.owner,
        scopes=[scope for scope in SCOPES if scope in caller.scopes],
        key_id=row.key_id,
        created=row.created,
        expires=row.expires,
    )
