"""Synthetic conversations: sentences, voices and rule-based motion."""
