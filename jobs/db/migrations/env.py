"""Runs revisions on the connection that `jobs.db.migrate.upgrade` hands over."""

from alembic import context

from jobs.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
