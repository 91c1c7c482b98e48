"""Failures of attempts: their classes, and the health of the worker."""
