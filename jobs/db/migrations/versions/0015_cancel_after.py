"""Time at which a job is canceled, and the events that its callback URL receives."""

import sqlalchemy as sa
from alembic import op

from jobs.db.tables import UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ALL_EVENTS = '["job.succeeded", "job.failed", "job.canceled"]'


def upgrade() -> None:
    op.add_column("jobs", sa.Column("cancel_after", sa.Double()))
    op.add_column("jobs", sa.Column("cancel_at", UtcDateTime()))
    op.add_column(
        "jobs", sa.Column("webhook_events", sa.JSON(), nullable=False, server_default=ALL_EVENTS)
    )
    op.create_index("ix_jobs_cancel_at", "jobs", ["cancel_at"])


def downgrade() -> None:
    op.drop_index("ix_jobs_cancel_at", "jobs")
    for column in ("webhook_events", "cancel_at", "cancel_after"):
        op.drop_column("jobs", column)
