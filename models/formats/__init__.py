"""File formats of audio, datasets and results."""
