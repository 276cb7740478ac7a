"""`make audit`: what it makes of pip-audit's answers."""

import importlib.util
import json
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


def answer(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(packages)})


SOUND = {"name": "httpx", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "torch", "skip_reason": "not found"}
UNSOUND = {
    "name": "pillow",
    "version": "1.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}, {"id": "CVE-2", "fix_versions": []}],
}


def test_versions_without_advisories_are_good(audit: Any) -> None:
    told, good = audit.verdict({"pypi": answer(SOUND, UNKNOWN)})
    assert good
    assert told == "1 packages asked for at pypi, 0 advisories\nnot known there: torch"


def test_each_advisory_is_told_with_the_version_that_mends_it(audit: Any) -> None:
    told, good = audit.verdict({"pypi": answer(SOUND, UNSOUND)})
    assert not good
    assert told.splitlines() == [
        "pillow 1.0: CVE-1, mended in 1.1, 2.0",
        "pillow 1.0: CVE-2, mended in no version yet",
        "2 packages asked for at pypi, 2 advisories",
    ]


@pytest.mark.parametrize(
    "nothing", ["", "Traceback", "[]", '{"dependencies": []}', answer(UNKNOWN)]
)
def test_without_data_it_says_so_and_does_not_fail(audit: Any, nothing: str) -> None:
    told, good = audit.verdict({"pypi": nothing, "osv": nothing})
    assert good
    assert told == "advisories cannot be had from here (pypi, osv): nothing was audited"


def test_the_second_source_is_heard_where_the_first_knows_nothing(audit: Any) -> None:
    told, good = audit.verdict({"pypi": "", "osv": answer(UNSOUND)})
    assert not good
    assert "at osv" in told
