"""Runs revisions on the connection that `jobs.schema.upgrade` hands over."""

from alembic import context

from jobs.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
