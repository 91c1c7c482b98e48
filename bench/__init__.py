"""Benchmarks of the motion networks, the renderers, training and the API; no time is asserted."""
