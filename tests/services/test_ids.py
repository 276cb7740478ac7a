"""Identifiers: UUIDv7 with a prefix."""

import re
import time
import uuid

from services.ids import PATTERN, new_id


def test_an_id_is_a_uuid_of_version_7_with_its_kind_in_front() -> None:
    value = new_id("job")
    assert re.fullmatch(PATTERN, value)
    parsed = uuid.UUID(value.removeprefix("job_"))
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_ids_carry_their_time_and_sort_by_it() -> None:
    before = time.time()
    first = new_id("img")
    time.sleep(0.002)
    second = new_id("img")
    assert first < second
    milliseconds = int(first.removeprefix("img_")[:12], 16)
    assert before - 0.01 <= milliseconds / 1000 <= time.time() + 0.01


def test_ten_thousand_ids_differ() -> None:
    assert len({new_id("job") for _ in range(10_000)}) == 10_000
