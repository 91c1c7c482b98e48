"""API keys, tenants of jobs, idempotency keys per tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.add_column(
        "jobs", sa.Column("tenant", sa.String(63), nullable=False, server_default="local")
    )
    op.create_index("ix_jobs_tenant_created_at_id", "jobs", ["tenant", "created_at", "id"])
    with op.batch_alter_table("idempotency_keys") as table:  # SQLite makes the table anew
        table.add_column(sa.Column("tenant", sa.String(63), nullable=False, server_default="local"))
        table.drop_constraint("pk_idempotency_keys", type_="primary")
        table.create_primary_key("pk_idempotency_keys", ["tenant", "key"])


def downgrade() -> None:
    # A key that two tenants use stays the older job's: ids sort by time.
    younger = (
        "DELETE FROM idempotency_keys WHERE job_id NOT IN "
        "(SELECT min(job_id) FROM idempotency_keys GROUP BY key)"
    )
    op.execute(younger)
    with op.batch_alter_table("idempotency_keys") as table:
        table.drop_constraint("pk_idempotency_keys", type_="primary")
        table.drop_column("tenant")
        table.create_primary_key("pk_idempotency_keys", ["key"])
    op.drop_index("ix_jobs_tenant_created_at_id", "jobs")
    op.drop_column("jobs", "tenant")
    op.drop_table("api_keys")
