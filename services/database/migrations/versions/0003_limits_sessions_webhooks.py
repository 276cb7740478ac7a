"""Quotas and fair shares, browser sessions, webhooks, tallies, resources of workers.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

from services.database.schema import UTCDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("served", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("queue", "owner", name=op.f("pk_shares")),
    )
    op.create_table(
        "tallies",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels", name=op.f("pk_tallies")),
    )
    op.create_table(
        "dataset_reservations",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_dataset_reservations_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("dataset_id", "digest", name=op.f("pk_dataset_reservations")),
    )
    with op.batch_alter_table("dataset_reservations", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_dataset_reservations_digest"), ["digest"], unique=False
        )

    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        sa.Column("previous_until", UTCDateTime(), nullable=True),
        sa.Column("created", UTCDateTime(), nullable=False),
        sa.Column("disabled", UTCDateTime(), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("failing_since", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    with op.batch_alter_table("webhooks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhooks_owner"), ["owner"], unique=False)

    op.create_table(
        "browser_sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("created", UTCDateTime(), nullable=False),
        sa.Column("expires", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["api_keys.id"],
            name=op.f("fk_browser_sessions_key_id_api_keys"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_browser_sessions")),
    )
    with op.batch_alter_table("browser_sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_browser_sessions_expires"), ["expires"], unique=False)
        batch_op.create_index(batch_op.f("ix_browser_sessions_key_id"), ["key_id"], unique=False)

    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due", UTCDateTime(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("created", UTCDateTime(), nullable=False),
        sa.Column("delivered", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_webhook_deliveries_webhook_id_webhooks"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.create_index("ix_webhook_deliveries_state_due", ["state", "due"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_webhook_deliveries_webhook_id"), ["webhook_id"], unique=False
        )

    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("quotas", sa.JSON(), server_default="{}", nullable=False))

    with op.batch_alter_table("dataset_images", schema=None) as batch_op:
        batch_op.create_index(
            "ix_dataset_images_dataset_id_size", ["dataset_id", "size"], unique=False
        )

    with op.batch_alter_table("job_samples", schema=None) as batch_op:
        batch_op.add_column(sa.Column("size", sa.Integer(), server_default="0", nullable=False))

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("checkpoint_size", sa.BigInteger(), nullable=True))
        batch_op.add_column(
            sa.Column("lost_attempts", sa.Integer(), server_default="0", nullable=False)
        )
        batch_op.add_column(sa.Column("running_cap", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("request_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("trace", sa.Text(), nullable=True))
        batch_op.create_index("ix_jobs_owner_state", ["owner", "state"], unique=False)
        batch_op.create_index(
            "ix_jobs_line",
            ["type", "owner", "priority", "queued", "id", "running_cap", "state"],
            unique=False,
            sqlite_where=sa.text("state = 'queued'"),
            postgresql_where=sa.text("state = 'queued'"),
        )

    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("resources", sa.JSON(), server_default="{}", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.drop_column("resources")

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_line")
        batch_op.drop_index("ix_jobs_owner_state")
        batch_op.drop_column("trace")
        batch_op.drop_column("request_id")
        batch_op.drop_column("running_cap")
        batch_op.drop_column("lost_attempts")
        batch_op.drop_column("checkpoint_size")

    with op.batch_alter_table("job_samples", schema=None) as batch_op:
        batch_op.drop_column("size")

    with op.batch_alter_table("dataset_images", schema=None) as batch_op:
        batch_op.drop_index("ix_dataset_images_dataset_id_size")

    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.drop_column("quotas")

    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhook_deliveries_webhook_id"))
        batch_op.drop_index("ix_webhook_deliveries_state_due")

    op.drop_table("webhook_deliveries")
    with op.batch_alter_table("browser_sessions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_browser_sessions_key_id"))
        batch_op.drop_index(batch_op.f("ix_browser_sessions_expires"))

    op.drop_table("browser_sessions")
    with op.batch_alter_table("webhooks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhooks_owner"))

    op.drop_table("webhooks")
    with op.batch_alter_table("dataset_reservations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_dataset_reservations_digest"))

    op.drop_table("dataset_reservations")
    op.drop_table("tallies")
    op.drop_table("shares")
