"""Idempotency keys: one answer for a day, in the transaction of its effect."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from services import idempotency
from services.database.schema import IdempotencyKey, now
from services.errors import IdempotencyMismatchError
from services.idempotency import Answer
from services.installation import Installation

ANSWER = Answer(status=201, body={"id": "img_1", "é": [1.5, None]}, headers={"Location": "/x"})


def record(installation: Installation, owner: str = "anna") -> None:
    with installation.database.write() as session:
        idempotency.record(session, owner=owner, key="k", request_digest="d", answer=ANSWER)


def recall(installation: Installation, *, owner: str = "anna", digest: str = "d") -> Answer | None:
    with installation.database.read() as session:
        return idempotency.recall(session, owner=owner, key="k", request_digest=digest)


def test_the_first_answer_is_recalled(installation: Installation) -> None:
    assert recall(installation) is None
    record(installation)
    assert recall(installation) == ANSWER


def test_keys_belong_to_their_owner(installation: Installation) -> None:
    record(installation)
    assert recall(installation, owner="bert") is None
    record(installation, owner="bert")


def test_another_request_with_the_key_is_refused(installation: Installation) -> None:
    record(installation)
    with pytest.raises(IdempotencyMismatchError, match="another request"):
        recall(installation, digest="e")


def test_an_answer_is_forgotten_after_a_day(installation: Installation) -> None:
    record(installation)
    with installation.database.write() as session:
        session.execute(update(IdempotencyKey).values(created=now() - timedelta(hours=25)))
    assert recall(installation, digest="e") is None
    record(installation)  # takes the old one's place
    assert recall(installation) == ANSWER


def test_an_effect_that_fails_leaves_no_answer(installation: Installation) -> None:
    def answer_and_fail() -> None:
        with installation.database.write() as session:
            idempotency.record(session, owner="anna", key="k", request_digest="d", answer=ANSWER)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        answer_and_fail()
    assert recall(installation) is None
