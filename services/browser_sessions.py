"""Browser sessions: a browser logs in with an API key once, and then holds a cookie.

The cookie's token has 256 random bits; what is kept is SHA-256 of it, by which it is looked
up, so that nothing secret is compared. A session ends when it expires, when it is ended, and
with its key.
"""

import secrets
from base64 import urlsafe_b64encode
from datetime import timedelta
from hashlib import sha256

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from services import keys
from services.access import Caller
from services.database import Database
from services.database.schema import ApiKey, BrowserSession, now

# Of one key: whoever logs in more often loses the oldest.
MOST_OF_A_KEY = 100


def begin(session: Session, caller: Caller, *, lifetime: timedelta) -> tuple[BrowserSession, str]:
    """Let a browser act for `caller`, who has shown a key.

    The second value is the token for its cookie, which cannot be had again.
    """
    begun = now()
    mine = select(BrowserSession.id).where(BrowserSession.key_id == caller.key_id)
    newest_first = mine.order_by(BrowserSession.created.desc(), BrowserSession.id)
    too_many = session.scalars(newest_first.offset(MOST_OF_A_KEY - 1)).all()
    session.execute(delete(BrowserSession).where(BrowserSession.id.in_(too_many)))
    token = urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    row = BrowserSession(
        id=_id(token), key_id=caller.key_id, created=begun, expires=begun + lifetime
    )
    session.add(row)
    session.flush()
    return row, token


def recognise(database: Database, token: str) -> Caller | None:
    """Whose browser holds the token; None if nobody's does any more."""
    with database.read() as session:
        query = (
            select(BrowserSession, ApiKey)
            .join(ApiKey, ApiKey.id == BrowserSession.key_id)
            .where(
                BrowserSession.id == _id(token),
                BrowserSession.expires > now(),
                ApiKey.revoked.is_(None),
            )
        )
        found = session.execute(query).one_or_none()
    if found is None:
        return None
    return keys.admit(database, found.ApiKey, session_id=found.BrowserSession.id)


def get(session: Session, session_id: str) -> BrowserSession | None:
    """One session; None if it has been ended meanwhile."""
    return session.get(BrowserSession, session_id)


def end(session: Session, session_id: str) -> None:
    """Forget a session; one that is not there changes nothing."""
    session.execute(delete(BrowserSession).where(BrowserSession.id == session_id))


def sweep(session: Session) -> None:
    """Forget the sessions that have expired."""
    session.execute(delete(BrowserSession).where(BrowserSession.expires <= now()))


def _id(token: str) -> str:
    return sha256(token.encode()).hexdigest()
