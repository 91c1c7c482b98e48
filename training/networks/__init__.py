"""Trainers, losses and recipes of the motion networks."""
