"""Specifications of networks: their limits, and that they build what they say."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from models.restorers import RESTORERS
from services.restorers import card
from services.restorers.networks import NETWORK, DnCnn, Edsr, RrdbNet, SrCnn

SPECS = [
    {"kind": "edsr", "scale": 3, "blocks": 2, "width": 8, "residual_scale": 0.1},
    {"kind": "srresnet", "scale": 4, "blocks": 1, "width": 8},
    {"kind": "msrresnet", "scale": 2, "blocks": 1, "width": 8, "channels": 1},
    {"kind": "dncnn", "depth": 4, "width": 8, "channels": 1, "batch_norm": False},
    {"kind": "rrdbnet", "scale": 1, "blocks": 1, "width": 8, "growth": 4},
    {"kind": "zhao", "width": 8},
    {"kind": "srcnn", "widths": [8, 4], "middle_kernel": 5},
]


def test_every_network_has_a_specification_and_words_for_its_card():
    assert [spec["kind"] for spec in SPECS] == list(RESTORERS)
    assert list(card.NETWORKS) == list(RESTORERS)


@pytest.mark.parametrize("plain", SPECS, ids=lambda spec: spec["kind"])
def test_a_specification_builds_the_network_that_it_describes(plain):
    spec = NETWORK.validate_python(plain)
    built = spec.build()
    assert (built.scale, built.channels) == (spec.scale, spec.channels)
    assert built.multiple == spec.multiple
    assert spec.model_dump(mode="json") == {"kind": spec.kind} | built.hyperparameters


def test_the_defaults_are_the_published_networks():
    assert Edsr(scale=4).model_dump() == {
        "kind": "edsr",
        "scale": 4,
        "blocks": 16,
        "width": 64,
        "residual_scale": 1.0,
        "value_range": 255,
    }
    assert (DnCnn().depth, DnCnn().width, DnCnn().channels) == (17, 64, 3)
    assert (RrdbNet(scale=4).blocks, RrdbNet(scale=4).growth) == (23, 32)
    assert SrCnn().widths == (64, 32)


@pytest.mark.parametrize(
    ("plain", "place"),
    [
        ({"kind": "edsr", "scale": 8}, "scale"),
        ({"kind": "edsr"}, "scale"),
        ({"kind": "edsr", "scale": 2, "blocks": 65}, "blocks"),
        ({"kind": "edsr", "scale": 2, "residual_scale": 0}, "residual_scale"),
        ({"kind": "srresnet", "scale": 4, "width": 513}, "width"),
        ({"kind": "dncnn", "depth": 2}, "depth"),
        ({"kind": "dncnn", "channels": 2}, "channels"),
        ({"kind": "rrdbnet", "scale": 3}, "scale"),
        ({"kind": "zhao", "depth": 3}, "depth"),
        ({"kind": "srcnn", "middle_kernel": 7}, "middle_kernel"),
        ({"kind": "srcnn", "widths": [64]}, "widths"),
    ],
    ids=str,
)
def test_a_hyperparameter_out_of_its_limits_is_named(plain, place):
    with pytest.raises(ValidationError) as caught:
        NETWORK.validate_python(plain)
    assert place in caught.value.errors()[0]["loc"]


def test_specifications_and_manifests_need_no_torch():
    script = (
        "import sys, services.restorers.networks, services.restorers.manifest, "
        "services.restorers.importing; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
