"""Audio and a request to files, in this process."""
