"""Reads and writes of the database tables, one module for each table."""
