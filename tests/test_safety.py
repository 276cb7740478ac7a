"""No file of a user is ever executed: no code that could, and no file that is."""

import ast
import io
import os
import pickle
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

import mdf
from api.app import create_app
from mdf.errors import MDFError
from services.errors import ServiceError
from services.installation import Installation
from services.jobs import claims
from services.jobs.dispatch import celery_app
from services.jobs.execution import COMPUTATIONS, execute
from services.jobs.run import JobRun
from services.restorers import importing
from services.settings import Settings

ROOT = Path(__file__).parents[1]
PACKAGES = ("mdf", "models", "services", "workers", "api")

# Modules that make objects, and so run code, of what a file says.
UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
# The same under other names, by the end of a call's dotted name.
LOADERS = {"read_pickle", "jit.load", "hub.load", "load_state_dict_from_url", "export.load"}
EXECUTORS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of the expression that says so, as far as it does."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def given(call: ast.Call, name: str) -> object:
    """The constant that a call gives for a keyword."""
    for keyword in call.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None


def imported(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, name.name) for name in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node, node.module


def faults(source: str) -> list[str]:
    """What in a module could execute what a file says."""
    tree = ast.parse(source)
    found = []
    for node, module in imported(tree):
        # Its error is caught where torch's own reader, which executes nothing, raises it.
        by_name = isinstance(node, ast.Import) and module == "pickle"
        if module.partition(".")[0] in UNPICKLERS and not by_name:
            found.append(f"imports {module}")
        if module.partition(".")[0] == "yaml":
            found.append("reads YAML")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            used = dotted(node)
            if used.startswith("pickle.") and used != "pickle.UnpicklingError":
                found.append(f"uses {used}")
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name == "torch.load" and given(node, "weights_only") is not True:
            found.append("torch.load without weights_only=True")
        if name in ("np.load", "numpy.load") and given(node, "allow_pickle"):
            found.append("numpy.load of objects")
        if name in EXECUTORS:
            found.append(f"calls {name}")
        if any(name == each or name.endswith(f".{each}") for each in LOADERS):
            found.append(f"calls {name}")
        if given(node, "shell"):
            found.append(f"{name} through a shell")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(b'')",
        "import pickle\nread = pickle.Unpickler",
        "from pickle import loads",
        "import joblib",
        "import torch\ntorch.load(file)",
        "import torch\ntorch.load(file, weights_only=False)",
        "import torch\ntorch.load(file, weights_only=chosen)",
        "import numpy as np\nnp.load(file, allow_pickle=True)",
        "import torch\ntorch.jit.load(file)",
        "import pandas\npandas.read_pickle(file)",
        "import yaml",
        "eval('1')",
        "import os\nos.system('true')",
        "import subprocess\nsubprocess.run('true', shell=True)",
    ],
)
def test_what_could_execute_a_file_is_found(source: str) -> None:
    assert faults(source)


def test_nothing_in_the_product_could_execute_a_file() -> None:
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 150
    found = {str(path.relative_to(ROOT)): faults(path.read_text()) for path in sources}
    assert {path: each for path, each in found.items() if each} == {}


def test_messages_of_the_broker_are_json_alone(settings: Settings) -> None:
    app = celery_app(settings)
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"


class Evil:
    """Unpickled, it calls what it was made with."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def zipped(members: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def saved(value: object, **options: Any) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, **options)
    return content.getvalue()


def evil_files(folder: Path) -> dict[str, bytes]:
    """Files by name; one that is executed leaves a file of that name in `folder`."""

    def touch(name: str) -> Evil:
        return Evil(Path.touch, folder / name)

    def array(name: str) -> np.ndarray:
        return np.array([touch(name)], dtype=object)

    def written(save: Callable[..., None], **content: Any) -> bytes:
        file = io.BytesIO()
        save(file, **content)
        return file.getvalue()

    calls = {
        "system.pth": Evil(os.system, f"touch '{folder / 'system.pth'}'"),
        "popen.pth": Evil(subprocess.call, ["touch", str(folder / "popen.pth")]),
        "eval.pth": Evil(eval, f"open({str(folder / 'eval.pth')!r}, 'w')"),
        "exec.pth": Evil(exec, f"open({str(folder / 'exec.pth')!r}, 'w')"),
        "open.pth": Evil(open, str(folder / "open.pth"), "w"),
    }
    weights = torch.zeros(2)
    return {
        **{name: pickle.dumps(call) for name, call in calls.items()},
        **{
            f"protocol{each}.pkl": pickle.dumps(touch(f"protocol{each}.pkl"), each)
            for each in range(6)
        },
        "alone.pt": saved(touch("alone.pt")),
        "beside.pt": saved({"weight": weights, "more": touch("beside.pt")}),
        "before1.6.pth": saved(touch("before1.6.pth"), _use_new_zipfile_serialization=False),
        "beside1.6.pth": saved(
            {"weight": weights, "more": touch("beside1.6.pth")},
            _use_new_zipfile_serialization=False,
        ),
        "array.npy": written(lambda file: np.save(file, array("array.npy"), allow_pickle=True)),
        "arrays.npz": written(lambda file: np.savez(file, weight=array("arrays.npz"))),
        "images.zip": zipped(
            {
                "images.zip.png": pickle.dumps(touch("images.zip")),
                "a.npy": written(
                    lambda file: np.save(file, array("images.zip"), allow_pickle=True)
                ),
                "archive/data.pkl": pickle.dumps(touch("images.zip")),
            }
        ),
        "tensors.safetensors": b"\x40\0\0\0\0\0\0\0" + pickle.dumps(touch("tensors.safetensors")),
    }


@pytest.fixture
def executed(tmp_path: Path) -> Path:
    """Where files that are executed show."""
    folder = tmp_path / "executed"
    folder.mkdir()
    return folder


def test_the_evil_files_are_evil(executed: Path) -> None:
    for name, content in evil_files(executed).items():
        file = io.BytesIO(content)
        match name.rpartition(".")[2]:
            case "npy":
                np.load(file, allow_pickle=True)
            case "npz":
                _ = np.load(file, allow_pickle=True)["weight"]
            case "zip":
                pickle.loads(zipfile.ZipFile(file).read("archive/data.pkl"))
            case "safetensors":
                pickle.loads(content[8:])
            case _ if torch.serialization._is_zipfile(file) or "1.6" in name:
                torch.load(file, weights_only=False)
            case _:
                pickle.loads(content)
        assert (executed / name).exists(), name


@pytest.mark.slow
def test_no_upload_is_executed(
    tmp_path: Path, executed: Path, add_model: Callable[..., Any], installation: Installation
) -> None:
    model = add_model()
    with TestClient(
        create_app(installation), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)
    ) as client:
        for name, content in evil_files(executed).items():
            for path in (
                "/v1/images",
                "/v1/losses/import",
                "/v1/models/import",
                f"/v1/models/{model.id}/restore",
            ):
                answer = client.post(path, files={"file": (name, content)})
                assert 400 <= answer.status_code < 500, f"{name} to {path}: {answer.text}"
                assert str(executed) not in answer.text
            source = {"kind": "upload", "size": len(content)}
            made = client.post("/v1/datasets", json={"name": name, "source": source}).json()
            sent = client.patch(
                f"/v1/datasets/{made['id']}/content",
                content=content,
                headers={"Content-Type": "application/octet-stream", "Upload-Offset": "0"},
            )
            assert sent.status_code == 204, sent.text
            do_next_import(installation)
            shown = client.get(f"/v1/datasets/{made['id']}").json()
            assert (shown["images"], shown["ready"]) == (0, None), name
    assert list(executed.iterdir()) == []


def do_next_import(installation: Installation) -> None:
    """What a worker does."""
    with installation.database.write() as session:
        wanted = claims.candidate(session, "prepare")
        assert wanted is not None
        lease = timedelta(seconds=30)
        assert claims.claim(session, wanted, holder="test", host="test", lease=lease)
    execute(installation, JobRun(installation, wanted, threading.Event()), COMPUTATIONS)


def test_no_file_that_the_library_reads_is_executed(tmp_path: Path, executed: Path) -> None:
    for name, content in evil_files(executed).items():
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(MDFError):
            mdf.load_loss(file)
        with pytest.raises(ServiceError):
            importing.convert(file, tmp_path, None, None)
    assert list(executed.iterdir()) == []
