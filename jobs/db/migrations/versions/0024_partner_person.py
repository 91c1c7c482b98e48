"""The second person of a job, with their consent."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("partner_person", sa.String(64)))
    op.add_column("jobs", sa.Column("partner_consent", sa.JSON(none_as_null=True)))
    op.create_index(
        "ix_jobs_partner_person_created_at_id", "jobs", ["partner_person", "created_at", "id"]
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_partner_person_created_at_id", "jobs")
    op.drop_column("jobs", "partner_consent")
    op.drop_column("jobs", "partner_person")
