"""Generation of the demo person: body, voices, conversations and motion."""
