"""Celery queue that wakes workers."""
