"""Priority and metadata of a job; the priority orders before the age."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("metadata", sa.JSON(), nullable=False, server_default="{}"))
    op.create_index(
        "ix_jobs_turn", "jobs", ["state", sa.column("priority").desc(), "created_at", "id"]
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_turn", "jobs")
    op.drop_column("jobs", "metadata")
    op.drop_column("jobs", "priority")
