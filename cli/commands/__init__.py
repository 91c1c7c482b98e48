"""One module for each command of `visavis-server`."""
