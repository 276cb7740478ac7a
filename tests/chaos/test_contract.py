"""The service does what its OpenAPI document says, and only that: schemathesis, all checks."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from services import keys
from services.access import LOCAL
from services.database.schema import Dataset, Evaluation, Image, Loss, Model
from services.embedded.broker import EmbeddedRedis
from services.installation import Installation
from services.jobs.submission import submit
from services.phase1.recipe import DiscriminatorTraining

HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
PROGRAM = Path(sys.executable).with_name("schemathesis")
SEED = 20_260_101  # the same requests in every run


@pytest.fixture
def objects(
    installation: Installation,
    seed_image: Image,
    model: Model,
    add_dataset: Callable[..., Dataset],
    add_loss: Callable[[], Loss],
    add_evaluation: Callable[[str], Evaluation],
) -> dict[str, str]:
    """One object of each kind, by the names under which requests speak of it."""
    from skimage import data

    dataset = add_dataset({"a.png": data.astronaut()[:64, :64]})
    wanted = DiscriminatorTraining.model_validate(
        {"seed_image_ids": [seed_image.id], "task": {"kind": "sisr"}, "preset": "quick"}
    )
    with installation.database.write() as session:
        job = submit(session, wanted, caller=LOCAL)
    ids = {"job_id": job.id, "dataset_id": dataset.id, "evaluation_id": add_evaluation(job.id).id}
    ids |= dict.fromkeys(("model_id", "model_ids"), model.id)
    ids |= dict.fromkeys(("image_id", "image_ids", "reference_image_id"), seed_image.id)
    ids |= dict.fromkeys(("loss_id", "loss_ids"), add_loss().id)
    return ids | {"seed_image_ids": seed_image.id}


@pytest.fixture
def identities(installation: Installation) -> dict[str, str]:
    """Tokens: of two owners who must not see each other's objects, and of an administrator."""
    callers = {"local": ("write",), "anna": ("write",), "root": ("admin",)}
    with installation.database.write() as session:
        root = keys.create(session, name="root", owner="root", scopes=["admin"])
        return {
            owner: (
                root
                if owner == "root"
                else keys.create(session, name=owner, owner=owner, scopes=scopes)
            )[1]
            for owner, scopes in callers.items()
        }


def write_configuration(folder: Path, identities: Mapping[str, str], examples: int) -> None:
    """Schemathesis' configuration, with the identities under which to send."""
    lines = ["continue-on-failure = true", "[generation]", f"max-examples = {examples}"]
    if identities:
        people = [
            {
                "name": name,
                "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}],
            }
            for name, token in identities.items()
        ]
        (folder / "people.json").write_text(json.dumps({"auth": people}))
        lines += ["[auth.wfc]", 'path = "people.json"', 'peers = ["local", "anna"]']
    (folder / "schemathesis.toml").write_text("\n".join(lines) + "\n")


class Contract:
    """Schemathesis against a served API, and what came of it as a row of the table."""

    def __init__(self, serve: Callable[..., Any], folder: Path, figures: Any, full: bool) -> None:
        self._serve = serve
        self._folder = folder
        self._figures = figures
        self._full = full

    def hold(
        self,
        name: str,
        *,
        objects: Mapping[str, str],
        identities: Mapping[str, str] = MappingProxyType({}),
        phases: str,
        excluded: str | None = None,
    ) -> None:
        """Run all checks; the short form takes a few examples and `phases` alone.

        One operation may be left out, by its id.
        """
        examples = self._figures.count(short=3, full=100)
        write_configuration(self._folder, identities, examples)
        served = self._serve(requests_per_minute=10**6, failed_keys_per_minute=10**6)
        with self._figures("14", f"schemathesis, all checks, {name}") as scenario:
            result = subprocess.run(
                [
                    PROGRAM,
                    *("--config-file", "schemathesis.toml"),
                    *("run", f"{served.url}/openapi.json", "--checks", "all"),
                    *("--phases", "examples,coverage,fuzzing,stateful" if self._full else phases),
                    *(("--exclude-operation-id", excluded) if excluded else ()),
                    *("--seed", str(SEED), "--generation-database", "none", "--no-color"),
                ],
                cwd=self._folder,
                env=os.environ
                | {
                    "SCHEMATHESIS_HOOKS": HOOKS.stem,
                    "PYTHONPATH": str(HOOKS.parent),
                    "CONTRACT_OBJECTS": json.dumps(objects),
                },
                capture_output=True,
                text=True,
                check=False,
            )
            print(result.stdout[-60_000:], result.stderr[-5_000:])
            assert result.returncode in (0, 1), "schemathesis did not run to its end"
            told = re.search(r"(\d+) generated(?:.*?(\d+) unique failures)?", result.stdout)
            assert told, "schemathesis sent nothing"
            operations = re.search(r"Tested: (\d+)", result.stdout)
            scenario.figure("operations", int(operations[1]) if operations else 0, at_least=50)
            scenario.figure("requests", int(told[1]), at_least=100)
            scenario.figure("failures", int(told[2] or result.returncode), at_most=0)
            scenario.figure("answers of 500 and above", errors_in(served), at_most=0)


def errors_in(served: Any) -> int:
    """Answers from 500 on, by the log."""
    return len(re.findall(r" 5\d\d in \d", served.log.read_text()))


@pytest.fixture
def contract(
    serve: Callable[..., Any],
    broker: EmbeddedRedis,
    figures: Any,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> Contract:
    folder = tmp_path / "contract"
    folder.mkdir()
    return Contract(serve, folder, figures, pytestconfig.getoption("chaos") == "full")


@pytest.mark.slow
def test_it_holds_for_callers_with_keys(contract, objects, identities):
    contract.hold(
        "with keys", objects=objects, identities=identities, phases="examples,fuzzing,stateful"
    )


@pytest.mark.slow
def test_it_holds_where_no_key_is_needed(contract, objects):
    # The first key that is made would shut out all other requests.
    contract.hold(
        "where no key is needed",
        objects=objects,
        phases="examples,fuzzing",
        excluded="create_api_key",
    )


def test_it_holds_for_callers_who_show_no_key(contract, objects, identities):
    contract.hold("without the key that is needed", objects=objects, phases="fuzzing")
