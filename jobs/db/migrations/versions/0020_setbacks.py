"""Pauses of jobs that were put back, and the time at which the storage was made."""

import sqlalchemy as sa
from alembic import op

from jobs.db.tables import UtcDateTime

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("not_before", UtcDateTime()))
    op.add_column("jobs", sa.Column("setbacks", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("identity", sa.Column("storage_made_at", UtcDateTime()))


def downgrade() -> None:
    op.drop_column("identity", "storage_made_at")
    for column in ("setbacks", "not_before"):
        op.drop_column("jobs", column)
