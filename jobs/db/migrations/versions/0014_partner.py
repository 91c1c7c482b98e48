"""Second clip of a job, and the channels of an upload."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("partner_key", sa.String(255)))
    op.add_column("uploads", sa.Column("channels", sa.Integer()))


def downgrade() -> None:
    op.drop_column("uploads", "channels")
    op.drop_column("jobs", "partner_key")
