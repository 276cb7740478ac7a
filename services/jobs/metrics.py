"""Writing the named values of iterations, many at once."""

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.database.schema import JobMetric

# By scale and iteration.
Values = dict[tuple[int, int], dict[str, float]]


def store(session: Session, job_id: str, values: Values) -> None:
    """Insert the values; those of an iteration that is there already are replaced."""
    if not values:
        return
    rows = [
        {"job_id": job_id, "scale": scale, "step": step, "content": content}
        for (scale, step), content in values.items()
    ]
    # The two have the same clause, each in a construct of its own.
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(JobMetric)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["job_id", "scale", "step"],
            set_={"content": statement.excluded.content},
        ),
        rows,
    )
