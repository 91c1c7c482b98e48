"""Synthetic conversations: sentences, voices and motion by rule."""
