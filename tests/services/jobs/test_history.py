"""What jobs went through is counted, once each, in both databases."""

import threading

from services import tallies
from services.installation import Installation
from services.jobs import claims, requests
from services.jobs.failures import failure
from services.jobs.lifecycle import State
from services.tallies import Count, Time

OF_TYPE = ("type", "discriminator_training")


def counts(installation: Installation, name: Count) -> dict[tuple[tuple[str, str], ...], float]:
    with installation.database.read() as session:
        return dict(tallies.counts(session, name))


def test_a_job_is_counted_at_each_claim_each_loss_and_its_end(desk, installation) -> None:
    job = desk.submit()
    held = desk.claim(job)
    with installation.database.write() as session:
        assert claims.release(session, held, lost=True, max_attempts=5)
    held = desk.claim(job)
    with installation.database.write() as session:
        claims.fail(session, held, failure("diverged", "not finite", retryable=False))
    with installation.database.write() as session:
        assert claims.release(session, held, lost=True, max_attempts=5) is None
    assert counts(installation, Count.CLAIMS) == {(OF_TYPE,): 2}
    assert counts(installation, Count.ATTEMPTS_LOST) == {(OF_TYPE,): 1}
    ended = (("code", "diverged"), ("state", State.FAILED), OF_TYPE)
    assert counts(installation, Count.JOBS_ENDED) == {ended: 1}
    with installation.database.read() as session:
        assert tallies.times(session, Time.WAIT)[(OF_TYPE,)].counts[0] == 1
        assert sum(tallies.times(session, Time.RUN)[(OF_TYPE,)].counts) == 1


def test_a_job_that_never_ran_ends_without_a_run_time(desk, installation) -> None:
    desk.ask(requests.cancel, desk.submit())
    ended = (("code", ""), ("state", State.CANCELED), OF_TYPE)
    assert counts(installation, Count.JOBS_ENDED) == {ended: 1}
    with installation.database.read() as session:
        assert tallies.times(session, Time.RUN) == {}


def test_many_may_count_at_once_in_any_order(installation: Installation) -> None:
    def work(names: list[Count]) -> None:
        for _ in range(50):
            with installation.database.write() as session:
                for name in names:
                    tallies.count(session, name, type="restoration")

    orders = [[Count.CLAIMS, Count.ATTEMPTS_LOST], [Count.ATTEMPTS_LOST, Count.CLAIMS]]
    threads = [threading.Thread(target=work, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in (Count.CLAIMS, Count.ATTEMPTS_LOST):
        assert counts(installation, name) == {(("type", "restoration"),): 100}
