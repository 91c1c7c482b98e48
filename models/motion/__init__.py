"""Audio to motion: 256 face codes and 104 joint angles at 30 frames a second."""
