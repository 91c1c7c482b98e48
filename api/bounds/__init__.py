"""Bounds of requests: bytes and time of bodies, places at a time, time of connections."""
