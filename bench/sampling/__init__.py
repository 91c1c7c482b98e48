"""Sampled motion of a person: samplers, and seams between windows."""
