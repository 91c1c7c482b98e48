"""File names of clips, and the estimated time left of running jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("jobs", "uploads"):
        op.add_column(table, sa.Column("filename", sa.String(255)))
    op.add_column("jobs", sa.Column("seconds_left", sa.Double()))


def downgrade() -> None:
    op.drop_column("jobs", "seconds_left")
    for table in ("uploads", "jobs"):
        op.drop_column(table, "filename")
