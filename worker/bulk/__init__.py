"""Bulk generation: recordings of a manifest to files and a table, without service and queue."""
