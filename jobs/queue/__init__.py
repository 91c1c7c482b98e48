"""The Celery queue that wakes workers."""
