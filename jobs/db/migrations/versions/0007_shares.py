"""Fair share between tenants: an index, quotas, and stored bytes of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("jobs_in_flight", sa.Integer()),
        sa.Column("seconds_a_day", sa.Double()),
        sa.Column("stored_bytes", sa.BigInteger()),
        sa.Column("day", sa.Date()),
        sa.Column("seconds_of_day", sa.Double(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("name", name="pk_tenants"),
    )
    for name in ("input_bytes", "output_bytes"):
        op.add_column("jobs", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(
        "ix_jobs_share",
        "jobs",
        ["state", "tenant", sa.column("priority").desc(), "created_at", "id"],
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_share", "jobs")
    for name in ("input_bytes", "output_bytes"):
        op.drop_column("jobs", name)
    op.drop_table("tenants")
