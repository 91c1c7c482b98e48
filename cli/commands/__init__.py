"""Commands of `visavis-server`, one module each."""
