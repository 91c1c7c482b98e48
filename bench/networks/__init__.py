"""Parts of the benchmark of the motion networks."""
