"""Makes the models that workers load."""
