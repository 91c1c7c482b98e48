"""Recordings to send, and files to fetch."""
