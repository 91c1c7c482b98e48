"""Expiry times of inputs and outputs; table of periodic tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("input_expired_at", MOMENT))
    op.add_column("jobs", sa.Column("outputs_expired_at", MOMENT))
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
    op.create_table(
        "chores",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("place", sa.String(255)),
        sa.PrimaryKeyConstraint("name", name="pk_chores"),
    )
    op.create_table(
        "identity",
        sa.Column("id", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_identity"),
    )


def downgrade() -> None:
    op.drop_table("identity")
    op.drop_table("chores")
    op.drop_index("ix_jobs_finished_at", "jobs")
    op.drop_column("jobs", "outputs_expired_at")
    op.drop_column("jobs", "input_expired_at")
