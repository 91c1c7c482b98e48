"""Datasets: scenes, cuts, features, checks, statistics, downloads."""
