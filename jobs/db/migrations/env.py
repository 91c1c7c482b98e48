"""Alembic environment: run migrations on the connection of `jobs.db.migrate.upgrade`."""

from alembic import context

from jobs.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
