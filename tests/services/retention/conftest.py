"""Files that are as old as a test says."""

import os
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from services.installation import Installation


@pytest.fixture
def age(installation: Installation) -> Callable[[timedelta], None]:
    """Let all files that are there have that age."""

    def make_old(age: timedelta) -> None:
        moment = time.time() - age.total_seconds()
        for file in installation.blobs.folder.rglob("*"):
            os.utime(file, (moment, moment))

    return make_old
