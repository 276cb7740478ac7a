"""The container images and the compose file, as far as they can be checked without a daemon."""

import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.settings import CLIENT_NAMES, PREFIX, Settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields} | CLIENT_NAMES


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, in order."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]  # type: ignore[misc]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content = yaml.safe_load(COMPOSE.read_text())
    assert isinstance(content, dict)
    return content


def of(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions if instruction == name]


def test_the_image_runs_as_an_ordinary_user(instructions: list[tuple[str, str]]) -> None:
    names = [name for name, _ in instructions]
    assert of(instructions, "USER") == ["mdf"]
    last_write = max(index for index, name in enumerate(names) if name in {"RUN", "COPY"})
    assert names.index("USER") > last_write, "the code belongs to root, who does not run it"
    assert "useradd --uid 10001" in " ".join(of(instructions, "RUN"))


def test_every_install_keeps_to_the_constraints(instructions: list[tuple[str, str]]) -> None:
    installs = [run for run in of(instructions, "RUN") if "pip install" in run]
    assert len(installs) == 3
    assert all("--constraint constraints.txt" in install for install in installs)


def test_there_is_a_torch_for_each_device(instructions: list[tuple[str, str]]) -> None:
    stages = of(instructions, "FROM")
    assert stages[-1] == "torch-${DEVICE}"
    assert {"base AS torch-cpu", "base AS torch-cuda"} <= set(stages)
    assert of(instructions, "ARG") == ["DEVICE=cpu", 'PIP_EXTRA_INDEX_URL=""']


def test_everything_that_is_copied_is_there_and_not_ignored(
    instructions: list[tuple[str, str]],
) -> None:
    kept = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    for copy in of(instructions, "COPY"):
        *sources, _ = copy.split()
        for source in sources:
            assert (ROOT / source).exists()
            assert source.rstrip("/") in kept


def test_the_image_holds_every_package_of_the_service(
    instructions: list[tuple[str, str]],
) -> None:
    copied = " ".join(of(instructions, "COPY")).split()
    for package in ("mdf", "models", "services", "workers", "api"):
        assert f"{package}/" in copied


def test_health_is_asked_of_a_script_that_tells(
    instructions: list[tuple[str, str]], installation: Any
) -> None:
    (health,) = of(instructions, "HEALTHCHECK")
    assert health.endswith('CMD ["python", "docker/health.py", "api"]')
    settings = installation.settings

    def run(part: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "docker/health.py", part]
        environment = {**os.environ, **settings.environment(), "MDF_PORT": "9", **more}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, check=False, text=True
        )

    def check(part: str, **more: str) -> int:
        return run(part, **more).returncode

    away = run("api")  # nothing listens
    assert away.returncode == 1
    assert away.stderr.startswith("api: URLError: ")
    assert away.stderr.count("\n") == 1
    assert check("worker", MDF_DATABASE_URL="sqlite:////proc/nowhere/mdf.sqlite") == 1
    assert check("worker") == 1  # no worker has shown itself
    from services.jobs import workers

    slot = workers.Slot.here(0, "cpu")
    with installation.database.write() as session:
        workers.show(session, slot, job_id=None)
    assert check("worker") == 0


def test_health_is_asked_past_any_proxy(installation: Any) -> None:
    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        **installation.settings.environment(),
        "MDF_PORT": str(server.server_port),
        "http_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
    }
    command = [sys.executable, "docker/health.py", "api"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    server.shutdown()
    server.server_close()
    assert result.returncode == 0, result.stderr


def test_the_compose_file_names_only_settings_that_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        named = {name for name in service.get("environment", {}) if name.startswith(PREFIX)}
        assert named <= SETTINGS


def test_the_parts_start_in_order_and_are_watched(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"migrate", "api", "worker", "worker-light", "redis", "postgres"}
    for name in ("api", "worker", "worker-light"):
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "redis": {"condition": "service_healthy"},
        }
    assert services["migrate"]["depends_on"] == {
        "postgres": {"condition": "service_healthy", "required": False}
    }
    assert "pg_isready" in services["postgres"]["healthcheck"]["test"]
    for name in ("worker", "worker-light"):
        assert services[name]["healthcheck"]["test"][-1] == "worker"
    assert services["worker-light"]["command"][-2:] == ["--queues", "restore,prepare"]
    assert services["postgres"]["profiles"] == ["postgres"]


def test_nothing_is_exposed_beyond_the_host_or_lost_with_a_container(
    compose: dict[str, Any],
) -> None:
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        assert not service.get("privileged"), name
    used = {
        volume.partition(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", ())
    }
    assert used == set(compose["volumes"]) == {"data", "redis", "postgres"}


def test_every_container_is_an_ordinary_users_on_a_root_that_nobody_writes(
    compose: dict[str, Any], instructions: list[tuple[str, str]]
) -> None:
    (own,) = of(instructions, "USER")
    assert own not in ("root", "0")
    for name, service in compose["services"].items():
        user = own if service["image"].startswith("mdf:") else service["user"]
        assert user in ("mdf", "redis", "postgres"), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"cap_add", "devices", "network_mode", "pid", "ipc"} & set(service), name
        mounted = [volume.partition(":")[0] for volume in service.get("volumes", ())]
        assert not [source for source in mounted if source.startswith(("/", "."))], name


def test_memory_that_files_take_is_bounded_and_uploads_lie_on_the_disk(
    compose: dict[str, Any],
) -> None:
    for name, service in compose["services"].items():
        for folder in service.get("tmpfs", ()):
            assert re.search(r"[:,]size=\d+m\b", folder), f"{name}: {folder}"
        if service["image"].startswith("mdf:"):
            mounted = [volume.partition(":")[2] for volume in service["volumes"]]
            assert service["environment"]["TMPDIR"] in mounted, name


def test_the_gpu_file_changes_only_the_workers() -> None:
    content = yaml.safe_load((ROOT / "docker" / "cuda.yml").read_text())
    assert list(content["services"]) == ["worker", "worker-light"]


def test_docker_compose_reads_the_files() -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run(
            [docker, "compose", "version"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no docker client with compose here")
    for files in (["docker-compose.yml"], ["docker-compose.yml", "docker/cuda.yml"]):
        options = [part for file in files for part in ("--file", file)]
        command = [docker, "compose", *options, "--profile", "postgres", "config", "--quiet"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
