"""Times that a caller waits: to the first second of a video, and as estimates say."""
