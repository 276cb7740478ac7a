"""The files that a restorer is offered as: all of them compute the same."""

import hashlib
import io
import json
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from models.restorers import initialise
from services.errors import BadModelFileError
from services.restorers import packing
from services.restorers.artefact import RestorerManifest, read_restorer
from services.restorers.networks import NETWORK
from services.restorers.packing import pack

NETWORKS = [
    {"kind": "edsr", "scale": 3, "blocks": 1, "width": 8},
    {"kind": "srresnet", "scale": 4, "blocks": 1, "width": 8},
    {"kind": "msrresnet", "scale": 3, "blocks": 1, "width": 8},
    {"kind": "dncnn", "depth": 4, "width": 8},
    {"kind": "rrdbnet", "scale": 2, "blocks": 1, "width": 4, "growth": 2},
    {"kind": "zhao", "width": 8},
    {"kind": "srcnn", "widths": [8, 4], "channels": 1},
]
SIZES = [(1, 5, 9), (3, 31, 8), (1, 64, 33)]


def restorer(network):
    built = NETWORK.validate_python(network).build().eval().requires_grad_(False)
    initialise(built, torch.Generator().manual_seed(0))
    return RestorerManifest(origin="trained", network=network), built


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["kind"])
def test_every_file_computes_what_the_restorer_does_at_any_size(network, capfd):
    manifest, built = restorer(network)
    files = pack(manifest, built)
    assert list(files) == ["safetensors", "onnx", "pt2"]
    assert capfd.readouterr() == ("", "")
    again, read = read_restorer(files["safetensors"])
    program = torch.export.load(io.BytesIO(files["pt2"])).module()
    session = onnxruntime.InferenceSession(files["onnx"], providers=["CPUExecutionProvider"])
    assert again == manifest
    fold = built.multiple
    for count, height, width in SIZES:
        image = torch.rand(count, built.channels, height * fold, width * fold)
        expected = built(image)
        assert torch.equal(read(image), expected)
        torch.testing.assert_close(program(image), expected, atol=1e-5, rtol=1e-5)
        (found,) = session.run(["restored"], {"image": image.numpy()})
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_an_onnx_model_is_valid_and_says_what_it_is():
    manifest, built = restorer(NETWORKS[5])
    model = onnx.load_from_string(packing.onnx_model(manifest, built))
    onnx.checker.check_model(model, full_check=True)
    (image,), (restored,) = model.graph.input, model.graph.output
    assert (image.name, restored.name) == ("image", "restored")
    sides = [side.dim_param or side.dim_value for side in image.type.tensor_type.shape.dim]
    assert sides == ["batch", 3, "height", "width"]
    (metadata,) = model.metadata_props
    assert metadata.key == "mdf-restorer"
    assert json.loads(metadata.value) == manifest.to_dict()


def test_the_same_restorer_has_the_same_bytes_in_another_process_and_no_path_of_this_one(tmp_path):
    manifest, built = restorer(NETWORKS[3])
    files = pack(manifest, built)
    path = tmp_path / "restorer.safetensors"
    path.write_bytes(files["safetensors"])
    script = """
        import hashlib, sys
        from services.restorers.artefact import read_restorer
        from services.restorers.packing import pack

        files = pack(*read_restorer(open(sys.argv[1], "rb").read()))
        print(*(hashlib.sha256(content).hexdigest() for content in files.values()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digests = [hashlib.sha256(content).hexdigest() for content in files.values()]
    assert done.stdout.split() == digests
    for content in files.values():
        assert packing.__file__.removesuffix("packing.py").encode() not in content
        assert b"/torch/nn" not in content


def test_a_model_that_computes_something_else_is_not_given_out(monkeypatch):
    manifest, built = restorer(NETWORKS[5])
    content = packing.onnx_model(manifest, built)
    with torch.no_grad():
        built.conv3.bias.add_(1e-3)
    with pytest.raises(BadModelFileError, match=r"than torch for zhao: .* differ by 0\.00"):
        packing._check(content, built)


def test_a_network_that_computes_no_finite_values_is_refused():
    manifest, built = restorer({"kind": "dncnn", "depth": 3, "width": 4, "batch_norm": False})
    for weights in built.parameters():
        weights.fill_(1e30)
    with pytest.raises(BadModelFileError, match="not finite for an ordinary image"):
        pack(manifest, built)
