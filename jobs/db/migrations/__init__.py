"""Alembic's revisions of the database; applied by `jobs.db.migrate.upgrade`."""
