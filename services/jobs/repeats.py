"""Jobs that do again what was done before."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.access import Caller
from services.database.schema import Job
from services.jobs.admission import admit
from services.jobs.lifecycle import State
from services.jobs.specs import AnySpec

# Of what is compared, what does not change the result: it is contained in the recipe.
_ASIDE = frozenset({"preset"})
_RECENT = 1000  # jobs of the caller that are looked at
_FRUITLESS = (State.FAILED, State.CANCELED, State.CANCELING, State.EXPIRED)


def find(session: Session, spec: AnySpec, caller: Caller) -> Job | None:
    """The caller's newest job that came, or will come, to the same by the same spec, if any.

    One that succeeded goes before one that is under way. Specs are compared as they are stored,
    with every default filled in.

    Raises: BadInputError for what `spec` names and is not there, not ready or does not fit.
    """
    wanted = _essence(admit(session, spec, caller))
    query = (
        select(Job.id, Job.state, Job.spec)
        .where(Job.owner == caller.owner, Job.type == spec.type, Job.state.not_in(_FRUITLESS))
        .order_by(Job.id.desc())
        .limit(_RECENT)
    )
    same = [row for row in session.execute(query) if _essence(row.spec) == wanted]
    if not same:
        return None
    best = next((row for row in same if row.state == State.SUCCEEDED), same[0])
    return session.get_one(Job, best.id)


def _essence(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name not in _ASIDE}
