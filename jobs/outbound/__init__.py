"""Outgoing HTTP requests to addresses that callers name, and the policy for those addresses."""
