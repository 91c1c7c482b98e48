"""The neural networks of a codec avatar."""
