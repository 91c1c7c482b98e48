"""Id of the watermark of a job's outputs."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("watermark", sa.String(16)))
    op.create_index("ix_jobs_watermark", "jobs", ["watermark"])


def downgrade() -> None:
    op.drop_index("ix_jobs_watermark", "jobs")
    op.drop_column("jobs", "watermark")
