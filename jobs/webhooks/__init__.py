"""Webhook outbox and signatures."""
