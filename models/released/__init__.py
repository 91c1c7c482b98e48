"""Released people: their files in, a person directory out, and back. None of it is executed."""
