"""Queries and updates of the database, one module for each table or role."""
