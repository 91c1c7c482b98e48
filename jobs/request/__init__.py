"""Requests: declared fields, the request models, and the digest of what motion depends on."""
