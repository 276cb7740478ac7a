"""How often callers may ask, over a real Redis and without one."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from unittest.mock import Mock

import httpx
import pytest
import redis
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from starlette.websockets import WebSocketDisconnect

from api.app import create_app
from services import keys, rates
from services.access import Caller
from services.database import Database
from services.embedded.broker import EmbeddedRedis
from services.installation import Installation
from services.settings import Settings
from tests.clock import Clock
from tests.waiting import PATIENCE_SECONDS

MakeKey = Callable[..., dict[str, str]]
Problem = Callable[..., dict[str, object]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Few wrong keys are enough."""
    return settings.model_copy(update={"failed_keys_per_minute": 3})


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is waited for, however busy the machine is."""
    monkeypatch.setattr(rates, "_TIMEOUT_SECONDS", PATIENCE_SECONDS)


class BucketClock(Clock):
    """The time of all buckets, in memory and on Redis; it stands still by itself."""

    SCRIPT = rates._SCRIPT.replace(
        "redis.call('TIME')", "{redis.call('GET', 'clock') or '1000', '0'}"
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._redis_url = settings.redis_client_url

    def sleep(self, seconds: int) -> None:
        self.seconds += seconds
        with suppress(redis.ConnectionError), redis.Redis.from_url(self._redis_url) as keeper:
            keeper.set("clock", int(self.seconds))


@pytest.fixture
def clock(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> BucketClock:
    """Lets time pass for the buckets of applications that are made from now on."""
    made = BucketClock(settings)
    monkeypatch.setattr(rates, "time", made)
    monkeypatch.setattr(rates, "_SCRIPT", made.SCRIPT)
    return made


@pytest.fixture
def client(installation: Installation, clock: BucketClock) -> Iterator[TestClient]:
    """A caller from elsewhere."""
    with TestClient(
        create_app(installation), base_url="http://mdf.example", client=("203.0.113.7", 50000)
    ) as connected:
        yield connected


@pytest.fixture(params=["with Redis", "without Redis"])
def keeper(request: pytest.FixtureRequest) -> str:
    """Where the buckets are."""
    if request.param == "with Redis":
        request.getfixturevalue("broker")
    return str(request.param)


def test_a_key_may_send_as_many_requests_as_its_quota(
    keeper: str, client: TestClient, make_key: MakeKey, assert_problem: Problem
) -> None:
    hasty = make_key("admin", requests_per_minute=5)
    patient = make_key("admin")
    answers = [client.get("/v1/jobs", headers=hasty) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert [answer.headers["RateLimit"] for answer in answers] == [
        '"requests";r=4;t=12',
        '"requests";r=3;t=24',
        '"requests";r=2;t=36',
        '"requests";r=1;t=48',
        '"requests";r=0;t=60',
        '"requests";r=0;t=60',
        '"requests";r=0;t=60',
    ]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"requests";q=5;w=60'}
    refusal = assert_problem(answers[-1], 429, "rate_limited")
    assert answers[-1].headers["Retry-After"] == "12"
    assert refusal["detail"] == (
        "this API key may send 5 requests a minute (requests_per_minute): try again in 12 s"
    )
    assert client.get("/v1/jobs", headers=patient).headers["RateLimit-Policy"] == (
        '"requests";q=6000;w=60'
    )


def test_what_is_refused_costs_nothing_and_the_bucket_fills_evenly(
    keeper: str, client: TestClient, make_key: MakeKey, clock: BucketClock
) -> None:
    hasty = make_key("admin", requests_per_minute=6)
    ask = lambda: client.get("/v1/me", headers=hasty).status_code  # noqa: E731
    assert [ask() for _ in range(16)] == [200] * 6 + [429] * 10
    for seconds, expected in ((9, [429]), (1, [200, 429]), (25, [200, 200, 429]), (5, [200, 429])):
        clock.sleep(seconds)
        assert [ask() for _ in expected] == expected


def test_buckets_fill_by_themselves(
    keeper: str, installation: Installation, make_key: MakeKey
) -> None:
    hasty = make_key("admin", requests_per_minute=1)
    with TestClient(create_app(installation), base_url="http://mdf.example") as client:
        assert client.get("/v1/me", headers=hasty).status_code == 200
        time.sleep(1.1)
        refused = client.get("/v1/me", headers=hasty)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) < 60


def test_several_processes_share_the_buckets(
    broker: EmbeddedRedis, client: TestClient, installation: Installation, make_key: MakeKey
) -> None:
    hasty = make_key("admin", requests_per_minute=4)
    with TestClient(create_app(installation), base_url="http://mdf.example") as other:
        answers = [
            each.get("/v1/jobs", headers=hasty).status_code
            for _ in range(3)
            for each in (client, other)
        ]
    assert answers == [200] * 4 + [429] * 2


def test_redis_may_go_and_come_back(
    broker: EmbeddedRedis, client: TestClient, make_key: MakeKey, clock: BucketClock
) -> None:
    hasty = make_key("admin", requests_per_minute=3)
    ask = lambda: client.get("/v1/jobs", headers=hasty)  # noqa: E731
    assert [ask().status_code for _ in range(2)] == [200, 200]
    broker.stop()
    assert [ask().status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    broker.start()
    clock.sleep(2)
    assert [ask().status_code for _ in range(2)] == [200, 429]


def test_a_redis_that_says_nothing_holds_nobody_up(
    broker: EmbeddedRedis, client: TestClient, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key("admin", requests_per_minute=100)
    assert client.get("/v1/jobs", headers=key).headers["RateLimit"] == '"requests";r=99;t=1'
    assert broker.pid is not None
    monkeypatch.setattr(rates, "_TIMEOUT_SECONDS", 0.1)
    goes_on = threading.Timer(60, os.kill, (broker.pid, signal.SIGCONT))
    goes_on.start()
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        answers = [client.get("/v1/jobs", headers=key) for _ in range(5)]
        seconds = time.monotonic() - started
    finally:
        goes_on.cancel()
        os.kill(broker.pid, signal.SIGCONT)
    assert {answer.status_code for answer in answers} == {200}
    assert answers[-1].headers["RateLimit"].startswith('"requests";r=95;')
    assert seconds < 30


def test_without_keys_requests_are_not_counted(installation: Installation) -> None:
    local = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 50000)}
    with TestClient(create_app(installation), **local) as client:
        answer = client.get("/v1/jobs")
    assert answer.status_code == 200
    assert "RateLimit" not in answer.headers


def test_guessing_keys_is_refused_by_address(
    keeper: str,
    client: TestClient,
    make_key: MakeKey,
    assert_problem: Problem,
    installation: Installation,
) -> None:
    right = make_key("admin")
    assert client.get("/v1/jobs", headers=right).status_code == 200
    unused = make_key("admin")
    wrong = [{"Authorization": f"Bearer mdf_{n:032x}_{'x' * 43}"} for n in range(5)]
    answers = [client.get("/v1/jobs", headers=headers) for headers in wrong]
    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 2
    assert_problem(answers[-1], 429, "rate_limited")
    assert answers[-1].headers["Retry-After"] == "20"
    # A key that the process knows still works from there; others, and logging in, must wait.
    assert client.get("/v1/jobs", headers=right).status_code == 200
    assert client.get("/v1/jobs", headers=unused).status_code == 429
    login = client.post("/v1/session", json={"api_key": "mdf_" + "0" * 32 + "_" + "x" * 43})
    assert login.status_code == 429
    with TestClient(create_app(installation), client=("203.0.113.8", 50000)) as neighbour:
        assert neighbour.get("/v1/jobs", headers=unused).status_code == 200


def test_logging_in_is_limited_too(client: TestClient, make_key: MakeKey) -> None:
    make_key("admin")
    wrong = {"api_key": "mdf_" + "0" * 32 + "_" + "x" * 43}
    answers = [client.post("/v1/session", json=wrong).status_code for _ in range(4)]
    assert answers == [401] * 3 + [429]


def test_logging_in_counts_as_a_request_of_the_key(
    keeper: str, client: TestClient, make_key: MakeKey, assert_problem: Problem
) -> None:
    hasty = make_key("admin", requests_per_minute=3)
    wanted = {"api_key": hasty["Authorization"].removeprefix("Bearer ")}
    answers = [client.post("/v1/session", json=wanted) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [201] * 3 + [429]
    refusal = assert_problem(answers[-1], 429, "rate_limited")
    assert refusal["detail"] == (
        "this API key may send 3 requests a minute (requests_per_minute): try again in 20 s"
    )
    assert answers[-1].headers["Retry-After"] == "20"
    assert "set-cookie" not in answers[-1].headers
    client.cookies.clear()
    assert client.get("/v1/jobs", headers=hasty).status_code == 429


@pytest.mark.parametrize(
    ("path", "accept", "refusal"),
    [
        ("/runs", "*/*", 401),
        ("/runs", "text/html", 303),  # to log in
        ("/no/such/path", "*/*", 401),
        ("/metrics", "*/*", 401),
    ],
)
def test_keys_are_guessed_nowhere(
    client: TestClient, make_key: MakeKey, path: str, accept: str, refusal: int
) -> None:
    make_key("admin")
    answers = [
        client.get(
            path,
            headers={"Authorization": f"Bearer mdf_{n:032x}_{'x' * 43}", "Accept": accept},
            follow_redirects=False,
        ).status_code
        for n in range(5)
    ]
    assert answers == [refusal] * 3 + [429] * 2


def test_connections_are_no_place_to_guess_keys(client: TestClient, make_key: MakeKey) -> None:
    right = make_key("admin")
    for n in range(3):
        wrong = {"Authorization": f"Bearer mdf_{n:032x}_{'x' * 43}"}
        with (
            pytest.raises(WebSocketDisconnect) as refused,
            client.websocket_connect("/_nicegui_ws/socket.io/", headers=wrong),
        ):
            pass
        assert refused.value.code == 1008
    assert client.get("/v1/jobs", headers=right).status_code == 429
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect("/_nicegui_ws/socket.io/", headers=right),
    ):
        pass
    assert refused.value.code == 1008


def test_what_is_for_everybody_is_answered_to_those_who_guess(
    client: TestClient, make_key: MakeKey
) -> None:
    make_key("admin")
    wrong = {"Authorization": f"Bearer mdf_{'0' * 32}_{'x' * 43}"}
    for path in ("/healthz", "/v1/jobs", "/v1/jobs", "/v1/jobs", "/v1/jobs", "/healthz", "/login"):
        answer = client.get(path, headers=wrong)
    assert answer.status_code == 200


def test_what_is_no_key_is_no_guess(client: TestClient, make_key: MakeKey) -> None:
    make_key("admin")
    of_a_proxy = {"Authorization": "Basic YW5uYTpzM2NyM3Q=", "Cookie": "mdf_session=old"}
    assert {client.get("/v1/jobs", headers=of_a_proxy).status_code for _ in range(8)} == {401}


def test_a_known_key_is_known_no_more_once_it_is_revoked(
    client: TestClient, installation: Installation, make_key: MakeKey
) -> None:
    make_key("admin")
    with installation.database.write() as session:
        key, token = keys.create(session, name="k", owner="bob", scopes=["read"])
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/v1/jobs", headers=headers).status_code == 200
    with installation.database.write() as session:
        keys.revoke(session, key.id)
    answers = [client.get("/v1/jobs", headers=headers).status_code for _ in range(4)]
    assert answers == [401] * 3 + [429]


def test_a_known_key_stays_known_while_the_database_is_away(
    client: TestClient, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = make_key("admin")
    assert client.get("/v1/jobs", headers=right).status_code == 200
    for n in range(4):
        last = client.get("/v1/jobs", headers={"Authorization": f"Bearer {_wrong(n)}"})
    assert last.status_code == 429
    with monkeypatch.context() as patch:
        away = OperationalError("SELECT 1", {}, Exception("away"))
        patch.setattr(keys, "authenticate", Mock(side_effect=away))
        assert client.get("/v1/jobs", headers=right).status_code == 503
    assert client.get("/v1/jobs", headers=right).status_code == 200


def test_asking_without_a_key_is_no_guess(client: TestClient, make_key: MakeKey) -> None:
    make_key("admin")
    assert {client.get("/v1/jobs").status_code for _ in range(8)} == {401}


def _wrong(n: int) -> str:
    return f"mdf_{n:032x}_{'x' * 43}"


def _ask(client: TestClient, method: str, path: str, token: str) -> httpx.Response:
    """Show a key: in the header, or by logging in."""
    if path == "/v1/session":
        return client.post(path, json={"api_key": token})
    return client.request(
        method,
        path,
        headers={"Authorization": f"Bearer {token}", "Accept": "text/html"},
        json={"name": "made", "scopes": ["read"]},
        follow_redirects=False,
    )


WAYS_IN = [("GET", "/v1/jobs", 401), ("GET", "/runs", 303), ("POST", "/v1/session", 401)]


@pytest.mark.parametrize(("method", "path", "refusal"), WAYS_IN)
def test_keys_that_are_guessed_at_once_are_counted_as_one_by_one(
    keeper: str, client: TestClient, make_key: MakeKey, method: str, path: str, refusal: int
) -> None:
    make_key("admin")
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda n: _ask(client, method, path, _wrong(n)), range(30)))
    assert sorted(answer.status_code for answer in answers) == [refusal] * 3 + [429] * 27
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.json()["code"] for answer in refused} == {"rate_limited"}
    assert {answer.headers["Retry-After"] for answer in refused} == {"20"}
    assert {answer.headers.get("Location") for answer in refused} == {None}


@pytest.fixture
def slow_key(
    make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, threading.Event, threading.Event]:
    """A right key; that it is being looked up; and that it may be found."""
    token = make_key("admin")["Authorization"].removeprefix("Bearer ")
    is_sought, may_be_found = threading.Event(), threading.Event()
    authenticate = keys.authenticate

    def authenticate_slowly(database: Database, shown: str) -> Caller:
        if shown == token:
            is_sought.set()
            assert may_be_found.wait(PATIENCE_SECONDS)
        return authenticate(database, shown)

    monkeypatch.setattr(keys, "authenticate", authenticate_slowly)
    return token, is_sought, may_be_found


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/jobs"), ("POST", "/v1/api-keys"), ("POST", "/v1/session")]
)
def test_once_enough_wrong_keys_were_tried_a_right_one_looks_as_they_do(
    keeper: str,
    client: TestClient,
    installation: Installation,
    slow_key: tuple[str, threading.Event, threading.Event],
    method: str,
    path: str,
) -> None:
    token, is_sought, may_be_found = slow_key
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(_ask, client, method, path, token)
        assert is_sought.wait(PATIENCE_SECONDS)
        for n in range(3):
            _ask(client, method, path, _wrong(n))
        wrong = _ask(client, method, path, _wrong(3))
        may_be_found.set()
        right = under_way.result(PATIENCE_SECONDS)
    assert (wrong.status_code, right.status_code) == (429, 429)
    assert right.headers.keys() == wrong.headers.keys()
    assert right.json()["detail"].partition(":")[0] == wrong.json()["detail"].partition(":")[0]
    # Nothing was done, and the key is not known by now.
    with installation.database.read() as session:
        assert len(keys.list_keys(session).items) == 1
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 429


def test_once_enough_wrong_keys_were_tried_a_connection_is_no_way_to_find_a_right_one(
    client: TestClient, slow_key: tuple[str, threading.Event, threading.Event]
) -> None:
    token, is_sought, may_be_found = slow_key
    query = "EIO=4&transport=websocket&client_id=c&tab_id=t&document_id=d&next_message_id=0"

    def connect() -> int:
        headers = {"Authorization": f"Bearer {token}"}
        with (
            pytest.raises(WebSocketDisconnect) as refused,
            client.websocket_connect(f"/_nicegui_ws/socket.io/?{query}", headers=headers),
        ):
            pass
        return refused.value.code

    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(connect)
        assert is_sought.wait(PATIENCE_SECONDS)
        for n in range(3):
            _ask(client, "GET", "/v1/jobs", _wrong(n))
        may_be_found.set()
        assert under_way.result(PATIENCE_SECONDS) == 1008


def test_right_keys_that_come_at_once_are_all_let_in(
    keeper: str, client: TestClient, make_key: MakeKey
) -> None:
    shown = [make_key("admin") for _ in range(5)] * 5
    with ThreadPoolExecutor(len(shown)) as pool:
        answers = list(pool.map(lambda headers: client.get("/v1/jobs", headers=headers), shown))
    assert [answer.status_code for answer in answers] == [200] * 25
    logins = [headers["Authorization"].removeprefix("Bearer ") for headers in shown]
    with ThreadPoolExecutor(len(logins)) as pool:
        answers = list(pool.map(lambda token: _ask(client, "POST", "/v1/session", token), logins))
    assert [answer.status_code for answer in answers] == [201] * 25


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
    ],
)
def test_an_address_is_as_much_as_one_sender_has(
    installation: Installation,
    broker: EmbeddedRedis,
    first: str,
    second: str,
    same: bool,
    make_key: MakeKey,
    clock: BucketClock,
) -> None:
    make_key("admin")
    wrong = {"Authorization": f"Bearer mdf_{'0' * 32}_{'x' * 43}"}
    statuses = []
    for address in (first, second):
        with TestClient(create_app(installation), client=(address, 50000)) as client:
            statuses.append([client.get("/v1/jobs", headers=wrong).status_code for _ in range(3)])
    assert statuses == [[401] * 3, [429 if same else 401] * 3]
