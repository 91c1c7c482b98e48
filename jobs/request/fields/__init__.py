"""Declarations of request fields: one module for each set, with its declaration `FIELDS`."""
