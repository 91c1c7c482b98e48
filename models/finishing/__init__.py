"""Finishing: last steps between sampled motion and frames, declared by a person as data."""
