"""The published wheel: it holds the package `mdf` alone and lives beside folders of any name."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mdf.artefact import Manifest, write_artefact
from mdf.discriminator import Discriminator

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_mdf_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        tops = {name.partition("/")[0] for name in names}
        (info,) = tops - {"mdf"}
        metadata = archive.read(f"{info}/METADATA").decode()
    assert info.startswith("mdf-")
    assert info.endswith(".dist-info")
    assert {"mdf/__init__.py", "mdf/loss.py", "mdf/py.typed"} <= set(names)
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert {line.split()[1].partition(">")[0] for line in required if "extra" not in line} == {
        "torch",
        "safetensors",
        "httpx",
        "typer",
        "rich",
    }


def test_the_loss_works_beside_folders_named_models_and_services(wheel, tmp_path):
    """The wheel is put first on the path of a Python that runs in a project of that kind."""
    site = tmp_path / "site"
    project = tmp_path / "project"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in ("models", "services", "api", "workers"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text("MINE = True\n")
    manifest = Manifest(origin="trained", widths=(4,), iterations=(1,))
    discriminator = Discriminator(width=4).eval()
    (project / "loss.safetensors").write_bytes(write_artefact(manifest, [discriminator]))
    (project / "train.py").write_text(
        "import sys\n"
        f"sys.path.insert(1, {str(site)!r})\n"
        "import api, mdf, models, services, torch, workers\n"
        "loss = mdf.load_loss('loss.safetensors')\n"
        "x = torch.rand(1, 3, 16, 16, requires_grad=True)\n"
        "loss(x, torch.zeros(1, 3, 16, 16)).backward()\n"
        "assert x.grad.abs().sum() > 0\n"
        "assert all(each.MINE for each in (api, models, services, workers))\n"
        "print(mdf.__file__)\n"
    )
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(site / "mdf" / "__init__.py")
