"""The blend-shape avatar: the kind of the demo person."""
