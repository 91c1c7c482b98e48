"""Outputs of a job: one module for each kind of file, with its declaration `OUTPUT`."""
