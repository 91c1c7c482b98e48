"""Outgoing HTTP requests to URLs from callers, and the policy for those URLs."""
