"""`make audit`: whether versions in constraints.txt are known to be vulnerable.

Fails if one is. Where the advisories cannot be had it says so, and does not fail: a machine
without the Internet can run it.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

SOURCES = ("pypi", "osv")  # who knows advisories, in the order in which they are asked
_SECONDS = 120  # for one of them
_COMMAND = (
    *(sys.executable, "-m", "pip_audit", "--requirement", "constraints.txt"),
    *("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
    *("--timeout", "15"),
)


def verdict(answers: Mapping[str, str]) -> tuple[str, bool]:
    """What to tell, and whether it is good; from what pip-audit wrote, by source."""
    for source, answer in answers.items():
        packages = _packages(answer)
        audited = [package for package in packages if "skip_reason" not in package]
        if not audited:
            continue
        found = [
            f"{package['name']} {package['version']}: {each['id']}, mended in "
            f"{', '.join(each['fix_versions']) or 'no version yet'}"
            for package in audited
            for each in package["vulns"]
        ]
        unknown = [package["name"] for package in packages if "skip_reason" in package]
        lines = [*found, f"{len(audited)} packages asked for at {source}, {len(found)} advisories"]
        if unknown:
            lines.append(f"not known there: {', '.join(unknown)}")
        return "\n".join(lines), not found
    return (
        f"advisories cannot be had from here ({', '.join(answers)}): nothing was audited",
        True,
    )


def _ask(command: list[str]) -> str:
    try:
        return subprocess.run(  # noqa: S603 - a fixed command
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        ).stdout
    except subprocess.TimeoutExpired:
        return ""


def _packages(answer: str) -> list[dict[str, Any]]:
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return []  # it could not ask
    return packages


def main() -> None:
    """Ask one source after the other, until one knows."""
    answers = {}
    for source in SOURCES:
        command = [*_COMMAND, "--vulnerability-service", source]
        answers[source] = _ask(command)
        if any("skip_reason" not in package for package in _packages(answers[source])):
            break
    told, good = verdict(answers)
    sys.stdout.write(f"{told}\n")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
