"""Estimate of the time that a running job still needs, from measured rates of its stages."""
