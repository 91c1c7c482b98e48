"""Table of batches."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("digest", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
    )
    op.create_index(
        "ix_batches_tenant_idempotency_key", "batches", ["tenant", "idempotency_key"], unique=True
    )
    op.add_column("jobs", sa.Column("batch_id", sa.String(32)))
    op.add_column("jobs", sa.Column("batch_place", sa.Integer()))
    op.create_index("ix_jobs_batch_id_batch_place", "jobs", ["batch_id", "batch_place"])


def downgrade() -> None:
    op.drop_index("ix_jobs_batch_id_batch_place", "jobs")
    op.drop_column("jobs", "batch_place")
    op.drop_column("jobs", "batch_id")
    op.drop_table("batches")
