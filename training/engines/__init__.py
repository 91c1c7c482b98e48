"""Engines that start the processes of a training run and start them again after a failure."""
