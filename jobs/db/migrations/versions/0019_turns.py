"""The last turn of each tenant: the number of the claim that took its latest job."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "tenants", sa.Column("last_turn", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.create_index("ix_tenants_last_turn", "tenants", ["last_turn"])


def downgrade() -> None:
    op.drop_index("ix_tenants_last_turn", "tenants")
    op.drop_column("tenants", "last_turn")
