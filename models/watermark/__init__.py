"""Imperceptible watermark of pictures and sound: keyed patterns that carry a 64-bit id."""
