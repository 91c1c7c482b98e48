"""Neural networks of a codec avatar."""
