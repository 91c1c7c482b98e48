"""Diffusion samplers: one module for each, with its declaration `SAMPLER`."""
