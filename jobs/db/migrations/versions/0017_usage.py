"""Device time, cost and trace of jobs, and the time from which they wait."""

import sqlalchemy as sa
from alembic import op

from jobs.db.tables import UtcDateTime

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("queued_at", UtcDateTime()))
    op.execute("UPDATE jobs SET queued_at = created_at WHERE state IN ('queued', 'running')")
    op.add_column("jobs", sa.Column("trace", sa.JSON(none_as_null=True)))
    op.add_column("jobs", sa.Column("device", sa.String(16)))
    op.add_column(
        "jobs", sa.Column("device_seconds", sa.Double(), nullable=False, server_default="0")
    )
    op.add_column("jobs", sa.Column("cost", sa.Double()))
    op.add_column("jobs", sa.Column("currency", sa.String(3)))
    op.add_column("deliveries", sa.Column("trace", sa.JSON(none_as_null=True)))


def downgrade() -> None:
    op.drop_column("deliveries", "trace")
    for column in ("currency", "cost", "device_seconds", "device", "trace", "queued_at"):
        op.drop_column("jobs", column)
