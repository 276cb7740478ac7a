"""`mdf usage`, of a service without keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from typer.testing import Result


def test_what_is_stored_is_told_with_what_is_allowed(
    mdf_command: Callable[..., Result], mdf_json: Callable[..., Any], tmp_path: Path
) -> None:
    before = mdf_json("usage")
    pixels = np.random.default_rng().integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    (image,) = mdf_json("images", "upload", tmp_path / "noise.png")
    after = mdf_json("usage")
    assert after["owner"] == "local"
    assert after["kinds"]["images"]["count"] == before["kinds"]["images"]["count"] + 1
    assert after["stored_bytes"] == before["stored_bytes"] + image["size"]
    assert after in mdf_json("usage", "--all")
    assert mdf_json("usage", "--owner", "nobody")["stored_bytes"] == 0
    shown = mdf_command("usage").stdout
    assert "jobs queued   0 of 1000" in shown
    assert "local" in mdf_command("usage", "--all").stdout
    mdf_command("images", "rm", image["id"])
    assert mdf_json("usage") == before
