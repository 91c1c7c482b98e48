"""Command line `visavis-server`, which may import every other package."""
