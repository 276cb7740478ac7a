"""`make audit`: what it makes of pip-audit's answers."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit.py"


@pytest.fixture(scope="module")
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOUND = {"name": "httpx", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "torch", "skip_reason": "not found"}
UNSOUND = {
    "name": "pillow",
    "version": "1.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}, {"id": "CVE-2", "fix_versions": []}],
}


def test_versions_without_advisories_are_good(audit: Any) -> None:
    told, good = audit.verdict({"pypi": [SOUND, UNKNOWN]})
    assert good
    assert told == "1 packages asked for at pypi, 0 advisories\nnot known there: torch"


def test_each_advisory_is_told_with_the_version_that_mends_it(audit: Any) -> None:
    told, good = audit.verdict({"pypi": [SOUND, UNSOUND]})
    assert not good
    assert told.splitlines() == [
        "pillow 1.0: CVE-1, mended in 1.1, 2.0",
        "pillow 1.0: CVE-2, mended in no version yet",
        "2 packages asked for at pypi, 2 advisories",
    ]


@pytest.mark.parametrize("nothing", [[], [UNKNOWN]])
def test_without_data_it_says_so_and_does_not_fail(audit: Any, nothing: list[Any]) -> None:
    told, good = audit.verdict({"pypi": nothing, "osv": nothing})
    assert good
    assert told == "advisories cannot be had from here (pypi, osv): nothing was audited"


def test_the_second_source_is_heard_where_the_first_knows_nothing(audit: Any) -> None:
    told, good = audit.verdict({"pypi": [], "osv": [UNSOUND]})
    assert not good
    assert "at osv" in told


def test_packages_are_read_from_what_pip_audit_writes(audit: Any) -> None:
    output = json.dumps({"dependencies": [SOUND, UNKNOWN]})
    assert audit.read(output, "No known vulnerabilities found\n") == [SOUND, UNKNOWN]


@pytest.mark.parametrize(
    "errors",
    [
        "Traceback (most recent call last):\n  …\nrequests.exceptions.ConnectionError: no route\n",
        "Traceback (most recent call last):\n  …\npip_audit._service.interface.ServiceError\n",
        "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\n"
        "ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another\n",
    ],
)
def test_a_source_that_cannot_be_reached_knows_nothing(audit: Any, errors: str) -> None:
    assert audit.read("", errors) == []


@pytest.mark.parametrize(
    ("output", "errors"),
    [
        ("", ""),
        ("", "/usr/bin/python: No module named pip_audit\n"),
        ("", "pip-audit: error: unrecognized arguments: --bogus\n"),
        ("", "Traceback (most recent call last):\n  …\nKeyError: 'vulns'\n"),
        ("[]", ""),
        ('{"dependencies": []}', "No known vulnerabilities found\n"),
    ],
)
def test_a_broken_tool_is_none_that_knows_nothing(audit: Any, output: str, errors: str) -> None:
    with pytest.raises(audit.BrokenToolError) as caught:
        audit.read(output, errors)
    assert str(caught.value) == errors


def test_pip_audit_says_what_is_wrong_with_the_constraints(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("httpx >= 1\n")
    command = [sys.executable, str(SCRIPT)]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert told.stderr.startswith("nothing was audited: pip-audit tells of no package, but says\n")
    assert "httpx is not pinned to an exact version" in told.stderr
