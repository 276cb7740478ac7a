"""`/v1/usage`: what owners have."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.access import Needs, Reader
from api.paging import ListOut
from api.runtime import Installed
from api.schemas import UsageOut
from services import keys, usage
from services.errors import ForbiddenError

router = APIRouter(prefix="/v1/usage", tags=["access"])


@router.get("", operation_id="get_usage")
def get_usage(
    caller: Reader,
    installed: Installed,
    owner: Annotated[
        str | None,
        Query(pattern=keys.OWNER, description="whose; default: the caller's; others': for admins"),
    ] = None,
) -> UsageOut:
    """What one owner has stored, and how many jobs wait and run."""
    if owner not in (None, caller.owner) and not caller.may("admin"):
        raise ForbiddenError("what other owners have is told to API keys with the scope admin")
    whose = owner or caller.owner
    with installed.database.read() as session:
        return UsageOut.of(whose, usage.of_owner(session, whose))


@router.get("/all", operation_id="list_usage", dependencies=[Depends(Needs("admin"))])
def list_usage(installed: Installed) -> ListOut[UsageOut]:
    """The same of every owner who has anything, in the order of their names."""
    with installed.database.read() as session:
        found = usage.of_all(session)
    return ListOut(data=[UsageOut.of(owner, used) for owner, used in found.items()])
