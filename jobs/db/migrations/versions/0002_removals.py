"""Table of deleted jobs whose objects have to be removed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "removals",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rounds_left", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_removals"),
    )
    op.create_index("ix_removals_due_at", "removals", ["due_at"])


def downgrade() -> None:
    op.drop_table("removals")
