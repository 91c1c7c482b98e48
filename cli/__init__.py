"""The command `visavis-server`: the one place that knows every room."""
