"""Training of the networks that workers load, and the data and evaluation for it."""
