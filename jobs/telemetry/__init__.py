"""Logging with redaction of credentials, metrics and traces."""
