"""ASGI middleware: access log, authentication, cross-origin rules."""
