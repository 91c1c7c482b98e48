"""Motion to frames. Knows nothing of audio."""
