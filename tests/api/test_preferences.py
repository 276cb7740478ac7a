"""The header `Prefer`, as RFC 7240 writes it."""

import pytest

from api.preferences import wait_seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (None, None),
        ([], None),
        (["wait=30"], 30),
        (["respond-async, wait=10"], 10),
        (["respond-async", "Wait = 10; urgent=1"], 10),
        (['wait="5"'], 5),
        (["wait=0"], 0),
        (["wait=100000"], 120),
        (["wait=1, wait=2"], 1),
        (["wait=soon", "return=minimal"], None),
        (["await=3"], None),
        (["wait"], None),
        (["wait=-1"], None),
        ([""], None),
    ],
)
def test_the_seconds_that_a_client_waits(headers, seconds):
    assert wait_seconds(headers) == seconds
