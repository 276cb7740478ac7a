"""API keys: who may call the service from elsewhere.

A token is `mdf_<id>_<secret>`. The secret has 256 random bits, so that a fast hash is
enough: nobody guesses it. What is kept is BLAKE2b of it, keyed with a salt of its own.
"""

import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from sqlalchemy import Row, bindparam, exists, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from services.access import SCOPES, Caller, Quotas, Scope
from services.database import Database, hold
from services.database.schema import ApiKey, BrowserSession, now
from services.errors import (
    BadInputError,
    ConflictError,
    NotFoundError,
    Problem,
    UnauthenticatedError,
)
from services.ids import new_id
from services.listing import Page, newest_first
from services.names import CONTROL
from services.quotas import checked

NAME = rf"^[^{CONTROL}]{{1,200}}$"
OWNER = r"^[A-Za-z0-9._@-]{1,100}$"
_TOKEN = re.compile(r"mdf_(?P<key>[0-9a-f]{32})_(?P<secret>[A-Za-z0-9_-]{43})")
_USE_RECORDED_EVERY = timedelta(minutes=1)
_KEYS = ApiKey.__table__
_SHOWN = select(_KEYS).where(_KEYS.c.id == bindparam("id"))  # plain: every request asks for it


def create(
    session: Session,
    *,
    name: str,
    owner: str,
    scopes: Collection[Scope],
    quotas: Mapping[str, int | None] | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; the second value is its token, which cannot be had again.

    Quotas that are None, or not given, are the settings'.

    Raises: BadInputError for a name, owner or quota that cannot be one, or scopes that there are
    not; ConflictError for a key without `admin` while there is none with it: from then on
    nobody could administer keys.
    """
    _check_name(name)
    if not re.fullmatch(OWNER, owner):
        raise BadInputError(
            f"{owner[:80]!r} cannot be an owner: an owner has 1 to 100 letters, digits, dots, "
            "hyphens, underscores and @, such as alice",
            problems=(Problem("/owner", f"must match {OWNER}"),),
        )
    if not scopes or not set(scopes) <= set(SCOPES):
        raise BadInputError(f"a key needs one or more of the scopes {', '.join(SCOPES)}")
    hold(session, "api_keys")
    if "admin" not in scopes and not _admins(session):
        raise ConflictError(
            "the first key must have the scope admin: once there is a key the service asks for "
            "one, and only an admin makes others"
        )
    secret = urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    key = ApiKey(
        id=new_id("key"),
        name=name,
        owner=owner,
        scopes=[scope for scope in SCOPES if scope in scopes],
        quotas=checked(quotas or {}),
        secret_hash=_hash(secret, salt=secrets.token_bytes(16)),
        created=now(),
    )
    session.add(key)
    session.flush()
    return key, f"mdf_{key.id.removeprefix('key_')}_{secret}"


def list_keys(session: Session, *, limit: int = 50, cursor: str | None = None) -> Page[ApiKey]:
    """All keys, newest first, the revoked ones too."""
    return newest_first(session, select(ApiKey), ApiKey.id, limit=limit, cursor=cursor)


def get(session: Session, key_id: str) -> ApiKey:
    """One key."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFoundError(f"no API key {key_id}")
    return key


def change(
    session: Session,
    key_id: str,
    *,
    name: str | None = None,
    quotas: Mapping[str, int | None] | None = None,
) -> ApiKey:
    """Rename the key, or set those of its quotas that are given; None there is the settings'.

    Raises: BadInputError for a name or quota that cannot be one; ConflictError for a revoked key.
    """
    hold(session, "api_keys")
    key = get(session, key_id)
    if key.revoked is not None:
        raise ConflictError(f"{key.id} has been revoked: its name and quotas stay as they are")
    if name is not None:
        _check_name(name)
        key.name = name
    if quotas is not None:
        key.quotas = checked({**key.quotas, **quotas})
    session.flush()
    return key


def revoke(session: Session, key_id: str) -> ApiKey:
    """Refuse the key from now on; revoking it again changes nothing.

    Raises: ConflictError for the last key with `admin` while others are in force.
    """
    hold(session, "api_keys")
    key = get(session, key_id)
    if key.revoked is None:
        others = select(ApiKey.id).where(ApiKey.revoked.is_(None), ApiKey.id != key.id)
        if _admins(session) == [key.id] and session.scalar(others.limit(1)):
            raise ConflictError(
                f"{key.id} is the last key with the scope admin: make another one first, or "
                "revoke all other keys"
            )
        key.revoked = now()
        session.flush()
    return key


def required(session: Session) -> bool:
    """Whether callers must show a key: as soon as one is in force."""
    return bool(session.scalar(select(exists().where(ApiKey.revoked.is_(None)))))


def shut_out(session: Session, callers: Collection[Caller]) -> set[Caller]:
    """Those of the callers, once let in, who would not be any more.

    Their key was revoked, their browser session has ended, or they came without a key and one
    is needed by now.
    """
    in_force: set[str | None] = set(
        session.scalars(
            select(ApiKey.id).where(
                ApiKey.id.in_({caller.key_id for caller in callers}), ApiKey.revoked.is_(None)
            )
        )
    )
    if any(caller.key_id is None for caller in callers) and not required(session):
        in_force.add(None)
    lasting: set[str | None] = set(
        session.scalars(
            select(BrowserSession.id).where(
                BrowserSession.id.in_({caller.session_id for caller in callers}),
                BrowserSession.expires > now(),
            )
        )
    )
    lasting.add(None)
    return {
        caller
        for caller in callers
        if caller.key_id not in in_force or caller.session_id not in lasting
    }


def check_let_in(session: Session, caller: Caller) -> None:
    """Raise UnauthenticatedError if the caller, once let in, would not be any more."""
    if shut_out(session, [caller]):
        raise UnauthenticatedError("the API key has been revoked, or the session has ended")


def authenticate(database: Database, token: str) -> Caller:
    """Who holds the token. Raises UnauthenticatedError if nobody does any more.

    An id that there is not takes as long as a wrong secret: nobody finds out ids by the time.
    """
    match = _TOKEN.fullmatch(token)
    refusal = UnauthenticatedError("the API key is unknown or has been revoked")
    if match is None:
        raise refusal
    with database.engine.connect() as connection:
        key = connection.execute(_SHOWN, {"id": f"key_{match['key']}"}).one_or_none()
    right = _matches(match["secret"], _NOBODYS_HASH if key is None else key.secret_hash)
    if key is None or key.revoked is not None or not right:
        raise refusal
    return admit(database, key)


def admit(database: Database, key: ApiKey | Row[Any], *, session_id: str | None = None) -> Caller:
    """The caller who has shown `key`, or a browser session that began with it; records the use."""
    if key.last_used is None or now() - key.last_used > _USE_RECORDED_EVERY:
        _record_use(database, key.id)
    return Caller(
        owner=key.owner,
        scopes=_scopes(key.scopes),
        key_id=key.id,
        session_id=session_id,
        quotas=Quotas(**key.quotas),
    )


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME, name):
        raise BadInputError(
            f"a key cannot be called {name[:80]!r}: a name has 1 to 200 characters, none of them "
            "a control character",
            problems=(Problem("/name", "must have 1 to 200 characters, none a control character"),),
        )


def _scopes(names: Sequence[str]) -> frozenset[Scope]:
    return frozenset(scope for scope in SCOPES if scope in names)


def _admins(session: Session) -> list[str]:
    rows = session.execute(select(ApiKey.id, ApiKey.scopes).where(ApiKey.revoked.is_(None)))
    return [row.id for row in rows if "admin" in row.scopes]


def _record_use(database: Database, key_id: str) -> None:
    # A disk that is full or a database that is busy is no reason to turn the caller away.
    with suppress(OperationalError), database.write() as session:
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used=now()))


def _hash(secret: str, *, salt: bytes) -> str:
    return f"{salt.hex()}:{blake2b(secret.encode(), key=salt, digest_size=32).hexdigest()}"


def _matches(secret: str, kept: str) -> bool:
    salt, _, _ = kept.partition(":")
    return secrets.compare_digest(_hash(secret, salt=bytes.fromhex(salt)), kept)


_NOBODYS_HASH = _hash(secrets.token_urlsafe(32), salt=secrets.token_bytes(16))
