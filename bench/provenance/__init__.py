"""Benchmarks of manifests and watermarks."""
