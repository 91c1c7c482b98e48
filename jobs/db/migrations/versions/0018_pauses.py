"""Claims that operators have paused."""

import sqlalchemy as sa
from alembic import op

from jobs.db.tables import UtcDateTime

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("paused_at", UtcDateTime(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("scope", "name", name="pk_pauses"),
    )


def downgrade() -> None:
    op.drop_table("pauses")
