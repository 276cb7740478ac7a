"""Exit 0 if this container's part of the service is alive: `python docker/health.py api|worker`.

If it is not, exit 1; where more is known, one line on standard error says it.
The API answers on its port; a worker has told the database within the last minute that it lives.
"""

import sys
from datetime import timedelta
from urllib.request import ProxyHandler, build_opener

from services.settings import Settings, load_settings

SILENCE = timedelta(minutes=1)


def api_is_alive(settings: Settings) -> bool:
    """Whether the API answers."""
    direct = build_opener(ProxyHandler({}))  # a proxy of the environment cannot reach loopback
    with direct.open(f"http://127.0.0.1:{settings.port}/healthz", timeout=5) as answer:
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


def main(part: str) -> int:
    """Check one part."""
    try:
        return 0 if CHECKS[part](load_settings()) else 1
    except Exception as error:  # noqa: BLE001 - whatever it is, the part is not well
        reason = str(error).partition("\n")[0]
        print(f"{part}: {type(error).__name__}: {reason}", file=sys.stderr)  # noqa: T201 - a program
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
