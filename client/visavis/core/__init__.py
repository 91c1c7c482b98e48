"""Requests and retries as steps without input or output, and their drivers."""
