"""Rates of stages, for estimates of the time left."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stage_rates",
        sa.Column("person", sa.String(64), nullable=False),
        sa.Column("machine", sa.String(128), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("rate", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("person", "machine", "name", name="pk_stage_rates"),
    )


def downgrade() -> None:
    op.drop_table("stage_rates")
