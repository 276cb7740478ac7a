"""Exit 0 if this container's part of the service is alive: `python docker/health.py api|worker`.

The API answers on its port; a worker has told the database within the last minute that it lives.
"""

import sys
from datetime import timedelta
from urllib.request import urlopen

from services.settings import Settings, load_settings

SILENCE = timedelta(minutes=1)


def api_is_alive(settings: Settings) -> bool:
    """Whether the API answers."""
    with urlopen(f"http://127.0.0.1:{settings.port}/healthz", timeout=5) as answer:
        return bool(answer.status == 200)


def worker_is_alive(settings: Settings) -> bool:
    """Whether a worker slot of this host has given a sign of life."""
    from sqlalchemy import select

    from services.database import Database
    from services.database.schema import Worker, now
    from services.jobs.locks import this_host

    database = Database(settings.sqlalchemy_url)
    alive = select(Worker.id).where(Worker.host == this_host(), Worker.last_seen > now() - SILENCE)
    with database.read() as session:
        return session.scalar(alive.limit(1)) is not None


CHECKS = {"api": api_is_alive, "worker": worker_is_alive}

if __name__ == "__main__":
    sys.exit(0 if CHECKS[sys.argv[1]](load_settings()) else 1)
