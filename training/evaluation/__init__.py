"""Sampling of datasets and metrics of samples."""
