"""Jobs: handles, waiting, progress."""
