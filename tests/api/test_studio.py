"""Pages of the studio, and their connections: who gets them, and what they tell browsers."""

import asyncio
import gc
import html
import json
import logging
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from fastapi.testclient import TestClient
from nicegui import Client
from nicegui import __version__ as nicegui_version
from sqlalchemy.exc import OperationalError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from api.access import FREE
from api.studio import frame, hosting, page_connections
from api.studio.visitor import Visitor
from tests.clock import Clock
from tests.waiting import PATIENCE_SECONDS

Keys = Callable[..., dict[str, str]]
HTML = {"Accept": "text/html"}
# For a connection to say something; by itself it does before long, and soon after ends.
SECONDS = 20.0
VISIT = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", **HTML}


def nonces(page: httpx.Response) -> set[str]:
    return set(re.findall(r'<script nonce="([^"]+)"', page.text))


def client_id(page: httpx.Response) -> str:
    (found,) = re.findall(r"'client_id': '([0-9a-f-]{36})'", page.text)
    return str(found)


def log_in(url: str, key: dict[str, str]) -> dict[str, str]:
    """The cookie of a browser that has shown the key."""
    token = key["Authorization"].removeprefix("Bearer ")
    answer = httpx.post(f"{url}/v1/session", json={"api_key": token})
    assert answer.status_code == 201, answer.text
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


# Who may look


@pytest.mark.parametrize("path", ["/", "/runs", "/runs?state=failed", "/nowhere"])
def test_without_keys_pages_are_for_this_machine(client: TestClient, path: str) -> None:
    there = 404 if path == "/nowhere" else 200
    assert client.get(path, headers=HTML).status_code == there
    for headers in (
        {"Host": "evil.example:8000"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    ):
        assert client.get(path, headers=HTML | headers).status_code == 403, headers


def test_a_busy_server_takes_its_time_for_a_page(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Visitor.read

    async def slowly(visitor: Visitor, ask: Callable[..., object]) -> object:
        await asyncio.sleep(3.5)  # NiceGUI by itself gives a page up after 3 s
        return await read(visitor, ask)

    monkeypatch.setattr(Visitor, "read", slowly)
    answer = client.get("/datasets", headers=HTML)
    assert answer.status_code == 200
    assert "Data sets" in answer.text


def test_a_link_on_another_site_may_lead_to_a_page_and_to_nothing_else(client: TestClient) -> None:
    link = VISIT | {"Sec-Fetch-Site": "cross-site"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/v1/images", headers=link).status_code == 403
    assert client.post("/", headers=link).status_code == 403
    assert client.get("/", headers=link | {"Origin": "null"}).status_code == 403
    assert client.get("/", headers=link | {"Host": "evil.example"}).status_code == 403


def test_with_keys_people_are_led_to_the_login_and_programs_are_told(
    client: TestClient, make_key: Keys, assert_problem
) -> None:
    make_key("admin")
    led = client.get("/seed?image=img_1&x=a%20b", headers=HTML, follow_redirects=False)
    assert led.status_code == 303
    assert led.headers["location"] == "/login?next=/seed%3Fimage%3Dimg_1%26x%3Da%2520b"
    assert client.get("/login").status_code == 200
    assert_problem(client.get("/seed"), 401, "unauthenticated")
    assert_problem(client.get("/v1/images", headers=HTML), 401, "unauthenticated")


def test_a_page_is_shown_by_cookie_to_who_has_the_scope(client: TestClient, make_key: Keys) -> None:
    make_key("admin", owner="root")
    token = make_key("read")["Authorization"].removeprefix("Bearer ")
    client.post("/v1/session", json={"api_key": token})
    assert client.get("/", headers=HTML).status_code == 200
    admin = client.get("/admin", headers=HTML)
    assert "needs an API key with the scope admin" in admin.text
    assert '"href":"/admin"' not in client.get("/", headers=HTML).text
    link = VISIT | {"Sec-Fetch-Site": "cross-site"}
    assert client.get("/", headers=link).status_code == 200
    refused = client.get("/", headers={**HTML, "Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1", "/metrics/nothing", "/favicon.png"])
def test_the_api_keeps_its_own_answers(client: TestClient, assert_problem, path: str) -> None:
    assert_problem(client.get(path), 404, "not_found")


# What pages tell browsers


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("/srv/secret"), 500), (OperationalError("secret", {}, Exception()), 503)],
)
def test_a_page_that_fails_tells_nothing_of_the_inside(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("services.census.workers", fail)
    page = client.get("/", headers=HTML)
    assert page.status_code == status
    assert "secret" not in page.text
    assert type(error).__name__ not in page.text
    assert "This cannot be shown" in page.text
    assert 'href":"/runs"' in page.text, "the bar is there"


@pytest.mark.parametrize("deadline", ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:00-14:00"])
def test_a_deadline_out_of_all_calendars_is_no_failure(client: TestClient, deadline: str) -> None:
    page = client.get(f"/train?deadline={deadline}", headers=HTML)
    assert page.status_code == 422
    assert "the deadline in this page's address is none" in html.unescape(page.text)


@pytest.mark.parametrize("path", ["/", "/admin", "/nowhere", "/<script>alert(1)</script>"])
def test_each_page_names_its_own_scripts(client: TestClient, path: str) -> None:
    first, second = client.get(path, headers=HTML), client.get(path, headers=HTML)
    for page in (first, second):
        policy = page.headers["content-security-policy"]
        (nonce,) = nonces(page)
        assert f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval';" in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert len(re.findall(r"<script\b", page.text)) == page.text.count(f'nonce="{nonce}"')
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", page.text)
        assert "https://" not in page.text
    assert nonces(first) != nonces(second)


def test_what_a_proxy_calls_its_folder_is_in_no_page(client: TestClient) -> None:
    for name in ("X-Forwarded-Prefix", "x-forwarded-prefix", "X-FORWARDED-PREFIX"):
        page = client.get("/", headers={**HTML, name: "//evil.example"})
        assert "evil.example" not in page.text
        assert 'src="/_nicegui/' in page.text


def test_scripts_are_for_everybody_and_kept_as_long_as_they_are_right(
    client: TestClient, make_key: Keys
) -> None:
    page = client.get("/", headers=HTML).text
    make_key("admin")
    static = re.findall(rf'"(/_nicegui/{nicegui_version}/static/[^"]+)"', page)
    components = re.findall(r'"(/_nicegui/[^"]+/components/[^"]+)"', page)
    assets = re.findall(r'"(/assets/[^"]+)"', page)
    for kept, paths in (("immutable", static), ("no-cache", components), ("no-cache", assets)):
        assert paths
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert kept in answer.headers["cache-control"], path


NO_SCRIPTS = [
    *(
        "nothing",
        "static/nothing.js",
        "libraries/nothing.js",
        "components/nothing.js",
        "",
        "static",
    ),
    *("resources/nothing/x", "dynamic_resources/nothing", "esm/nothing/x"),
]


def test_a_script_that_is_not_there_is_refused_as_all_else_is(
    client: TestClient, make_key: Keys, assert_problem
) -> None:
    make_key("admin")
    before = set(Client.instances)
    for path in NO_SCRIPTS:
        for method in ("GET", "POST"):
            address = f"/_nicegui/{nicegui_version}/{path}"
            answer = client.request(method, address, headers=HTML, follow_redirects=False)
            assert_problem(answer, 404, "not_found")
            assert answer.headers["cache-control"] == "no-store", "it may be there tomorrow"
    assert set(Client.instances) == before, "a page for who knows whom"


def test_a_script_has_a_head(live) -> None:
    path = f"/_nicegui/{nicegui_version}/components/nothing.js"
    assert httpx.head(f"{live.url}{path}").status_code == 404
    page = httpx.get(f"{live.url}/", headers=HTML).text
    (path, *_) = re.findall(r'"(/_nicegui/[^"]+/components/[^"]+)"', page)
    head = httpx.head(f"{live.url}{path}")
    assert (head.status_code, head.content) == (200, b"")


def test_who_is_not_let_in_makes_no_page(client: TestClient, make_key: Keys) -> None:
    make_key("admin")
    before = set(Client.instances)
    for path in (*FREE, "/login/", "/login?next=/runs", "/runs", "/nowhere", "/v1/session"):
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            client.request(method, path, headers=HTML, follow_redirects=False)
            assert set(Client.instances) == before, f"{method} {path}"


def test_the_login_page_may_use_nothing_but_its_own(client: TestClient, make_key: Keys) -> None:
    make_key("admin")
    page = client.get("/login")
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


# The connection of a page


@contextmanager
def talk(
    url: str,
    page: str,
    *,
    host: str = "",
    query: Mapping[str, object | None] = MappingProxyType({}),
    path: str = "/_nicegui_ws/socket.io/",
    opening: str = "40",
    **headers: str,
) -> Iterator[ClientConnection]:
    """Connect as a page's script does, but for what is given; raises InvalidStatus."""
    usual: dict[str, object | None] = {
        "EIO": 4,
        "transport": "websocket",
        "client_id": page,
        "implicit_handshake": "true",
        "document_id": "d",
        "tab_id": "t",
        "next_message_id": 0,
    }
    asked = {name: value for name, value in (usual | {**query}).items() if value is not None}
    own = url.removeprefix("http://")
    with connect(
        f"ws://{host or own}{path}?{urlencode(asked)}",
        sock=socket.create_connection(own.split(":")),
        additional_headers=headers,
        proxy=None,
        open_timeout=PATIENCE_SECONDS,
    ) as connection:
        assert str(connection.recv(SECONDS)).startswith("0{")
        connection.send(opening)
        if opening == "40":
            assert str(connection.recv(SECONDS)).startswith("40{")
        yield connection


def refused(url: str, page: str, **asked: Any) -> bool:
    try:
        with talk(url, page, **asked):
            return False
    except InvalidStatus as refusal:
        return refusal.response.status_code == 403


def test_without_keys_only_this_machines_own_pages_talk(live) -> None:
    page = client_id(httpx.get(f"{live.url}/", headers=HTML))
    assert not refused(live.url, page, Origin=live.url)
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": live.url.replace("http", "https")},
        {"Origin": "null"},
        {"Origin": live.url, "Sec-Fetch-Site": "cross-site"},
        {"Origin": live.url, "X-Forwarded-For": "192.0.2.7"},
        {"Origin": live.url, "host": "evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://evil.example", "host": "evil.example"},
    ):
        assert refused(live.url, page, **headers), headers
    assert refused(live.url, "", Origin=live.url), "of no page"


def test_with_keys_a_page_talks_for_whom_it_was_shown_to(live, make_key: Keys) -> None:
    make_key("admin", owner="root")
    anna, bert = make_key("write", owner="anna"), make_key("write", owner="bert")
    own = {"Origin": live.url, **log_in(live.url, anna)}
    page = client_id(httpx.get(f"{live.url}/", headers=HTML | own))
    assert not refused(live.url, page, **own)
    assert refused(live.url, page, Origin=live.url), "nobody"
    assert refused(live.url, page, Origin="https://evil.example", Cookie=own["Cookie"])
    assert refused(live.url, page, Cookie=own["Cookie"]), "a program that says no origin"
    assert refused(live.url, page, Origin=live.url, Cookie="mdf_session=guessed")
    assert refused(live.url, page, Origin=live.url, **log_in(live.url, bert)), "another key"
    assert refused(live.url, page, Origin=live.url, **log_in(live.url, anna)), "another session"
    httpx.delete(f"{live.url}/v1/session", headers=own)
    assert refused(live.url, page, **own), "who has logged out"


def test_a_connection_speaks_for_its_own_page_alone(
    live, make_key: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, Any]] = []
    for name in ("handle_event", "handle_javascript_response", "handle_log_message"):
        monkeypatch.setattr(Client, name, lambda page, said: heard.append((page.id, said["id"])))
    make_key("admin", owner="root")
    browsers = [
        {"Origin": live.url, **log_in(live.url, make_key("write", owner=owner))}
        for owner in ("anna", "bert")
    ]
    annas, berts = (
        client_id(httpx.get(f"{live.url}/", headers=HTML | browser)) for browser in browsers
    )
    with talk(live.url, annas, **browsers[0]), talk(live.url, berts, **browsers[1]) as connection:

        def say(what: str, page: str) -> None:
            said = {"client_id": page, "id": what, "tab_id": "t", "next_message_id": 0}
            connection.send(f"42{json.dumps([what, said])}")

        for what in ("handshake", "event", "javascript_response", "log", "ack"):
            say(what, annas)
        say("event", berts)
        say("log", berts)
        connection.send('420["event",{"client_id":"' + annas + '"}]')
        while not str(connection.recv(SECONDS)).startswith("430"):  # all before it has been heard
            pass
    assert heard == [(berts, "event")], "nor does it write the server's log"


def test_what_no_page_says_is_heard_and_does_nothing(
    live, caplog: pytest.LogCaptureFixture
) -> None:
    page = client_id(httpx.get(f"{live.url}/", headers=HTML))
    said = {"client_id": page, "level": "error", "message": "forged line", "id": 4}
    with talk(live.url, page, Origin=live.url) as connection, caplog.at_level(logging.WARNING):
        for message in (
            *(["event", {}], ["handshake", {}], ["log", {}], ["log", said]),
            *(["event", said], ["event", {**said, "listener_id": "none"}]),
            *(["event", {**said, "args": 4}], ["event", {**said, "args": ["{"]}]),
            *(["ack", {"client_id": page}], ["javascript_response", {"client_id": page}]),
        ):
            connection.send(f"42{json.dumps(message)}")
        connection.send('420["event",{}]')
        while not str(connection.recv(SECONDS)).startswith("430"):
            pass
    assert not caplog.records


@contextmanager
def a_quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing fails, in tasks that nobody awaits either, and nobody writes beside our log."""
    with caplog.at_level(logging.WARNING):
        yield
        gc.collect()
    assert not caplog.records
    for name in ("engineio.server", "socketio.server", "nicegui"):
        assert not logging.getLogger(name).handlers


DEEP = "[" * 900 + "]" * 900
NOT_SAID = [
    *("", "x", "9", "1", "2", "2probe", "5", "6", "4", "4[", "bAAAA", b"", b"bytes", b"\4bytes"),
    *("40", '40{"a":1}', "40/foo,", "41", "42", "42[]", "42{}", "42[4]", "43[]", '43999["x"]'),
    *("44{}", '42["event"', '42["event"]', '42["event",{},{}]', f'42["event",{DEEP}]'),
    *(
        '42["disconnect",1]',
        '42["connect",{}]',
        '42["*",{}]',
        '42["nothing",{}]',
        "42" + "[" * 3000,
    ),
    *('42/foo,["event",{}]', f'42{"9" * 200}["event",{{}}]', '4²["event",{}]', '42²["event",{}]'),
    *('451-["event",{"_placeholder":true,"num":0}]', '461-["event",{"_placeholder":true,"num":0}]'),
    '4599999999-["event",{"_placeholder":true,"num":0}]',
]


def test_a_connection_ends_with_what_no_page_says(live, caplog: pytest.LogCaptureFixture) -> None:
    page = client_id(httpx.get(f"{live.url}/", headers=HTML))
    with a_quiet_log(caplog):
        for message in NOT_SAID:
            with talk(live.url, page, Origin=live.url) as connection:
                connection.send(message)
                assert has_ended(connection), message
        for message in ("3", "40"):
            with talk(live.url, page, opening=message, Origin=live.url) as connection:
                connection.send('420["event",{}]')
                assert has_ended(connection) == (message == "3"), "nothing before the opening"


def has_ended(connection: ClientConnection) -> bool:
    try:
        while not str(connection.recv(SECONDS)).startswith("430"):
            pass
    except ConnectionClosed:
        return True
    return False


def test_a_connection_that_no_page_asks_for_is_refused(
    live, caplog: pytest.LogCaptureFixture
) -> None:
    page = client_id(httpx.get(f"{live.url}/", headers=HTML))
    with a_quiet_log(caplog):
        for name in ("EIO", "transport", "client_id", "tab_id", "document_id", "next_message_id"):
            assert refused(live.url, page, query={name: None}, Origin=live.url), name
        for query in (
            *({"EIO": 3}, {"transport": "polling"}, {"sid": "x"}, {"j": "x"}, {"tab_id": "t" * 99}),
            *({"next_message_id": "zz"}, {"next_message_id": "9" * 4500}),
        ):
            assert refused(live.url, page, query=query, Origin=live.url), query
        for path in ("/_nicegui_ws/", "/_nicegui_ws/socket.io", "/_nicegui_ws/x", "/"):
            assert refused(live.url, page, path=path, Origin=live.url), path


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_there_is_no_way_to_talk_but_a_websocket(
    client: TestClient, assert_problem, method: str
) -> None:
    page = client_id(client.get("/", headers=HTML))
    query = urlencode({"EIO": 4, "transport": "polling", "client_id": page})
    address = f"/_nicegui_ws/socket.io/?{query}"
    assert_problem(client.request(method, address, headers=HTML), 404, "not_found")
    assert "transports: ['websocket']," in client.get("/", headers=HTML).text


class LoopClock(Clock):
    """The time of an event loop, which passes when somebody sleeps; stands for `asyncio`."""

    def get_running_loop(self) -> "LoopClock":
        return self

    def time(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def test_a_connection_is_heard_no_faster_than_people_act(
    live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_connections, "BURST", 50)
    monkeypatch.setattr(page_connections, "MESSAGES_PER_SECOND", 50)
    clock = LoopClock()
    monkeypatch.setattr(page_connections, "asyncio", clock)
    page = client_id(httpx.get(f"{live.url}/", headers=HTML))
    with talk(live.url, page, Origin=live.url) as connection:

        def seconds(*messages: str) -> float:
            began = clock.seconds
            for message in (*messages, '420["event",{}]'):
                connection.send(message)
            while not str(connection.recv(SECONDS)).startswith("430"):
                pass
            return clock.seconds - began

        light, heavy = '42["event",{}]', f'42["event",{{"x":"{"x" * 490_000}"}}]'
        assert seconds(*[light] * 40) == 0
        assert seconds(*[light] * 50) == pytest.approx(0.86), "43 more than may come at once"
        assert seconds(heavy) == pytest.approx(1.02), "a long one counts as several"
        clock.seconds += 0.5
        assert seconds(*[light] * 50) == pytest.approx(0.52)


def test_what_a_browser_makes_fail_is_logged_once_a_minute(
    live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    text = httpx.get(f"{live.url}/runs", headers=HTML)
    theme = re.search(r'"([0-9]+)":\{"tag":"select".+?"listener_id":"([^"]+)"', text.text)
    assert theme is not None
    page = client_id(text)
    said = {"client_id": page, "id": int(theme[1]), "listener_id": theme[2]}
    with talk(live.url, page, Origin=live.url) as connection, caplog.at_level(logging.WARNING):

        def fail(*wrong: str) -> int:
            caplog.clear()
            for each in wrong:
                connection.send(f"42{json.dumps(['event', {**said, 'args': [each]}])}")
            connection.send('420["event",{}]')
            while not str(connection.recv(SECONDS)).startswith("430"):
                pass
            return len(caplog.records)

        assert fail("{}", "{}", "[]", "{}") == 1
        assert fail("{}") == 0
        monkeypatch.setattr(hosting, "FAILURE_SECONDS", 0.0)
        assert fail("{}") == 1


def test_a_page_whose_session_has_ended_leads_to_the_login_once(
    live, make_key: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"Origin": live.url, **log_in(live.url, make_key("admin"))}
    page = client_id(httpx.get(f"{live.url}/", headers=HTML | own))
    with talk(live.url, page, **own) as connection, caplog.at_level(logging.WARNING):
        httpx.delete(f"{live.url}/v1/session", headers=own)
        while "/login?next=" not in str(connection.recv(SECONDS)):
            pass
        heard = []
        with suppress(TimeoutError):
            while True:
                heard.append(str(connection.recv(5)))  # longer than its timer's time
    assert "/login" not in "".join(heard), "its timers are gone"
    failed = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert not failed


def test_pages_that_nobody_opens_do_not_pile_up(
    live, make_key: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame, "MOST_WAITING", 3)
    make_key("admin", owner="root")
    anna, bert = (
        {"Origin": live.url, **log_in(live.url, make_key("read", owner=owner))}
        for owner in ("anna", "bert")
    )
    berts = client_id(httpx.get(f"{live.url}/", headers=HTML | bert))
    opened = client_id(httpx.get(f"{live.url}/", headers=HTML | anna))
    with talk(live.url, opened, **anna):
        pages = [client_id(httpx.get(f"{live.url}/", headers=HTML | anna)) for _ in range(6)]
        assert [page in Client.instances for page in pages] == [False] * 3 + [True] * 3
        assert opened in Client.instances
        assert berts in Client.instances


def test_pages_that_are_open_do_not_pile_up(
    live, make_key: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_connections, "MOST_OPEN", 2)
    make_key("admin", owner="root")
    anna, bert = (
        {"Origin": live.url, **log_in(live.url, make_key("read", owner=owner))}
        for owner in ("anna", "bert")
    )
    berts, *pages = (
        client_id(httpx.get(f"{live.url}/", headers=HTML | own)) for own in (bert, *[anna] * 3)
    )
    with ExitStack() as stack:
        stack.enter_context(talk(live.url, berts, **bert))
        oldest, *others = (stack.enter_context(talk(live.url, page, **anna)) for page in pages)
        heard: list[str] = []
        with suppress(ConnectionClosed):
            while True:
                heard.append(str(oldest.recv(SECONDS)))
        assert "Too many pages are open" in heard[-2]
        assert heard[-1] == "41", "so that its script does not connect again"
        assert [page in Client.instances for page in (berts, *pages)] == [True, False, True, True]
        for each in others:
            each.send('420["event",{}]')
            assert not has_ended(each)
