"""Maintenance rounds: requeue lost jobs, announce waiting ones, remove expired objects."""
