"""Ways to sample motion: halves beside each other, clips together, sizes of batches."""
