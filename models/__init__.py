"""Networks and renderers: audio to motion (`models.motion`), motion to frames (`models.avatar`)."""
