"""Several jobs of one worker at a time: which may join, their threads, their turns."""
