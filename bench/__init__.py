"""Measures; never asserts a time."""
