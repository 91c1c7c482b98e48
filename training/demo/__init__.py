"""Makes the demo person: her body, her voice, her conversations and her motion."""
