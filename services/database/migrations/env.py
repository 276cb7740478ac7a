"""Alembic's entry: runs the migrations on the connection that `Database.migrate` hands over."""

from alembic import context

from services.database.schema import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
if connection.dialect.name == "postgresql":
    # Two hosts that start at once migrate one after the other.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7340173)")
with context.begin_transaction():
    context.run_migrations()
