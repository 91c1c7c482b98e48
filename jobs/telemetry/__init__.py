"""Logging, and redaction of credentials."""
