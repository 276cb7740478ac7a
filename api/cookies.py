"""The cookie by which a browser is known, and the pages that may use it."""

from datetime import datetime
from typing import Any

from fastapi import Response
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from services.errors import ForbiddenError

NAME = "mdf_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def token(scope: Scope, headers: Headers) -> str | None:
    """The token that the browser holds; None if it holds none."""
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(_name(scope))


def give(response: Response, scope: Scope, secret: str, *, expires: datetime) -> None:
    """Let the browser hold a token: for this origin's own requests, out of scripts' reach."""
    response.set_cookie(_name(scope), secret, expires=expires, **_terms(scope))


def take(response: Response, scope: Scope) -> None:
    """Let the browser forget its token."""
    response.delete_cookie(_name(scope), **_terms(scope))


def check_page(scope: Scope, headers: Headers, refusal: str) -> None:
    """Refuse what a page of another origin sends, as far as its browser tells.

    To come here by a link is not to send: a page that opens changes nothing.
    """
    scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
    own = f"{scheme}://{headers.get('host', '')}"
    if _is_visit(scope, headers):
        return
    site = headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin") or headers.get("origin", own) != own:
        raise ForbiddenError(refusal)


def check_cookie_use(scope: Scope, headers: Headers) -> None:
    """Refuse a request by cookie that another origin's page may have sent (CSRF).

    One that changes something must come with a header in which the browser says otherwise.
    """
    check_page(
        scope, headers, "requests of pages of another origin are not answered by a session's cookie"
    )
    if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
        return
    if "origin" not in headers and headers.get("sec-fetch-site") != "same-origin":
        raise ForbiddenError(
            f"a session's cookie alone is not enough for {scope.get('method', 'a connection')}: it "
            "needs the header "
            "Origin or Sec-Fetch-Site, which browsers send by themselves; programs send an API "
            "key as `Authorization: Bearer mdf_…` instead"
        )


def _terms(scope: Scope) -> dict[str, Any]:
    return {"path": "/", "secure": _encrypted(scope), "httponly": True, "samesite": "strict"}


def _name(scope: Scope) -> str:
    # With this prefix, browsers take the cookie from this very host by TLS only.
    return f"__Host-{NAME}" if _encrypted(scope) else NAME


def _encrypted(scope: Scope) -> bool:
    return scope["scheme"] in ("https", "wss")


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """Whether a browser opens a page in a tab of its own, by a link from anywhere."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and not scope["path"].startswith("/v1/")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and "origin" not in headers
    )
