"""Files of more than 2 GiB.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = ("artifacts", "loss_files", "model_files")


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        return  # its integers have room for them
    for table in _TABLES:
        op.alter_column(table, "size", type_=sa.BigInteger(), existing_nullable=False)


def downgrade() -> None:
    """The columns stay as they are: the version before reads them as well."""
