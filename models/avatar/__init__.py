"""Avatar renderers: face codes and pose to video frames."""
