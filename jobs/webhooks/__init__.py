"""Webhooks: the outbox of deliveries, and their signatures."""
