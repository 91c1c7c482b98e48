"""The whole service on one machine: supervisor, embedded Redis, one submitted recording."""
