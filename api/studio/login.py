"""The page `/login`, where a browser shows an API key once. It is there before anybody is known."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from api.access import PUBLIC

_PAGE = Path(__file__).with_name("login.html").read_text()
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def install(app: FastAPI) -> None:
    """Let `app` show the page, to everybody."""

    @app.get("/login", include_in_schema=False, dependencies=[PUBLIC])
    def show_login() -> HTMLResponse:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})
