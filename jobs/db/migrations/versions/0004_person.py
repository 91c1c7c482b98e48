"""Indexed column for the person of a job."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JOBS = sa.table("jobs", sa.column("person", sa.String), sa.column("request", sa.JSON))


def upgrade() -> None:
    op.add_column("jobs", sa.Column("person", sa.String(64), nullable=False, server_default=""))
    op.execute(JOBS.update().values(person=JOBS.c.request["person"].as_string()))
    op.create_index("ix_jobs_person_created_at_id", "jobs", ["person", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_person_created_at_id", "jobs")
    op.drop_column("jobs", "person")
