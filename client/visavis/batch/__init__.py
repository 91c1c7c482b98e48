"""Batches of files that can be stopped at any moment and resumed from a journal."""
