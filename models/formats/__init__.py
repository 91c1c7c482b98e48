"""File formats of recordings, datasets and results."""
