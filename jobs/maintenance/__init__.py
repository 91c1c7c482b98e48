"""One round of upkeep: expired jobs, deleted objects, orphaned files."""
