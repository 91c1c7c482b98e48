"""Warnings about the clips of jobs and uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("jobs", "uploads"):
        warnings = sa.Column("warnings", sa.JSON(), nullable=False, server_default="[]")
        op.add_column(table, warnings)


def downgrade() -> None:
    for table in ("jobs", "uploads"):
        op.drop_column(table, "warnings")
