"""`make audit`: whether versions in constraints.txt are known to be vulnerable.

Fails if one is, and if pip-audit does not work. Where the advisories cannot be had it says so, and
does not fail: a machine without the Internet can run it.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

SOURCES = ("pypi", "osv")  # who knows advisories, in the order in which they are asked
_SECONDS = 120  # for one of them
_COMMAND = (
    *(sys.executable, "-m", "pip_audit", "--requirement", "constraints.txt"),
    *("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
    *("--timeout", "15"),
)
# How a line of pip-audit's begins where a source is away, or gives no advisories.
_UNREACHED = (
    "requests.exceptions.",
    "pip_audit._service.interface.ServiceError",
    "ERROR:pip_audit._cli:Tip: your network may be blocking this service.",
)

Package = Mapping[str, Any]


class BrokenToolError(Exception):
    """pip-audit does not work; the message is what it says."""


def verdict(answers: Mapping[str, Sequence[Package]]) -> tuple[str, bool]:
    """What to tell, and whether it is good; from what is known of the packages, by source."""
    for source, packages in answers.items():
        audited = _audited(packages)
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


def read(output: str, errors: str) -> Sequence[Package]:
    """What pip-audit has written of each package; nothing if the source cannot be reached.

    Raises: BrokenToolError if it has not come as far as to ask.
    """
    try:
        packages: list[Package] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        packages = []
    if not packages and not any(line.startswith(_UNREACHED) for line in errors.splitlines()):
        raise BrokenToolError(errors)
    return packages


def _ask(source: str) -> Sequence[Package]:
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command
            [*_COMMAND, "--vulnerability-service", source],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return []
    return read(answer.stdout, answer.stderr)


def _audited(packages: Sequence[Package]) -> Sequence[Package]:
    return [package for package in packages if "skip_reason" not in package]


def main() -> None:
    """Ask one source after the other, until one knows."""
    answers = {}
    for source in SOURCES:
        try:
            answers[source] = _ask(source)
        except BrokenToolError as error:
            sys.exit(f"nothing was audited: pip-audit tells of no package, but says\n{error}")
        if _audited(answers[source]):
            break
    told, good = verdict(answers)
    sys.stdout.write(f"{told}\n")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
