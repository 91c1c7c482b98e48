"""Alembic's revisions of the database; applied by `jobs.schema.upgrade`."""
