"""Simulation of the queue: loads, workers, their scaling, and the number of workers for a load."""
