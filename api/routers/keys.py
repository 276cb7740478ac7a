"""`/v1/api-keys` and `/v1/me`: who may call."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from sqlalchemy.orm import Session

from api.access import Admin, Needs, Reader
from api.bodies import StrictRoute
from api.creation import Created, Creating
from api.errors import documented
from api.paging import Cursor, Limit, PageOut, link_next
from api.runtime import Installed
from api.schemas import KeyChange, KeyIn, KeyOut, MeOut, NewKeyOut, QuotasOut
from services import keys, usage
from services.access import SCOPES

router = APIRouter(prefix="/v1", tags=["access"], route_class=StrictRoute)

ADMINS_ONLY = Depends(Needs("admin"))


@router.post(
    "/api-keys",
    status_code=201,
    response_model=NewKeyOut,
    operation_id="create_api_key",
    responses=documented(409, 507),
)
def create_key(caller: Admin, creation: Creating, wanted: KeyIn) -> Response:
    """Make a key. Its secret is told once. From the first key on, every request needs one."""

    def create(session: Session) -> Created:
        key, token = keys.create(
            session,
            name=wanted.name,
            owner=wanted.owner or caller.owner,
            scopes=wanted.scopes,
            quotas=wanted.quotas.model_dump(),
        )
        shown = KeyOut.model_validate(key).model_dump()
        return Created(
            status=201,
            body=NewKeyOut(**shown, secret=token),
            location=f"/v1/api-keys/{key.id}",
            told_once=frozenset({"secret"}),
        )

    return creation.commit(create)


@router.get("/api-keys", operation_id="list_api_keys", dependencies=[ADMINS_ONLY])
def list_keys(
    *,
    request: Request,
    response: Response,
    installed: Installed,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageOut[KeyOut]:
    """All keys, newest first, the revoked ones too."""
    with installed.database.read() as session:
        page = keys.list_keys(session, limit=limit, cursor=cursor)
        link_next(request, response, cursor=page.next_cursor)
        data = [KeyOut.model_validate(key) for key in page.items]
        return PageOut(data=data, next_cursor=page.next_cursor)


KeyId = Annotated[str, Path(description="`key_…`", max_length=64)]


@router.get(
    "/api-keys/{key_id}",
    operation_id="get_api_key",
    dependencies=[ADMINS_ONLY],
    responses=documented(404),
)
def get_key(key_id: KeyId, installed: Installed) -> KeyOut:
    """One key."""
    with installed.database.read() as session:
        return KeyOut.model_validate(keys.get(session, key_id))


@router.patch(
    "/api-keys/{key_id}",
    operation_id="change_api_key",
    dependencies=[ADMINS_ONLY],
    responses=documented(404, 409),
)
def change_key(key_id: KeyId, installed: Installed, change: KeyChange) -> KeyOut:
    """Rename a key in force, or give it other quotas; they hold from its next request on."""
    quotas = None if change.quotas is None else change.quotas.model_dump(exclude_unset=True)
    with installed.database.write() as session:
        return KeyOut.model_validate(keys.change(session, key_id, name=change.name, quotas=quotas))


@router.delete(
    "/api-keys/{key_id}",
    status_code=204,
    operation_id="revoke_api_key",
    dependencies=[ADMINS_ONLY],
    responses=documented(404, 409),
)
def revoke_key(key_id: KeyId, installed: Installed) -> None:
    """Refuse a key from now on; its row stays for the record."""
    with installed.database.write() as session:
        keys.revoke(session, key_id)


@router.get("/me", operation_id="get_me")
def get_me(caller: Reader, installed: Installed) -> MeOut:
    """Whom the service takes the caller for, and what that one may have and has."""
    scopes = [scope for scope in SCOPES if scope in caller.scopes]
    with installed.database.read() as session:
        used = usage.of_owner(session, caller.owner)
    return MeOut(
        owner=caller.owner,
        scopes=scopes,
        key_id=caller.key_id,
        quotas=QuotasOut.model_validate(caller.quotas),
        stored_bytes=used.stored_bytes,
        queued_jobs=used.queued_jobs,
        running_jobs=used.running_jobs,
    )
