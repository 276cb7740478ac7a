"""Attempts end in the database, whatever their computation does."""

import threading

import pytest

from services.errors import BadInputError
from services.jobs.execution import execute
from services.jobs.run import JobRun


@pytest.mark.parametrize(
    ("error", "code", "traceback"),
    [(BadInputError("too small"), "bad_input", False), (KeyError("a"), "internal", True)],
)
def test_a_failure_is_logged_and_with_its_traceback_only_if_it_is_the_service_s(
    desk, installation, caplog, error, code, traceback
):
    def fail(*_):
        raise error

    job = desk.submit()
    run = JobRun(installation, desk.claim(job), threading.Event())
    execute(installation, run, {job.type: fail})
    ended = desk.job(job)
    assert (ended.state, ended.error["code"]) == ("failed", code)
    (line,) = [record for record in caplog.records if record.name == "services.jobs.execution"]
    assert line.getMessage() == f"job {job.id} failed: {code}"
    assert bool(line.exc_info) == traceback
