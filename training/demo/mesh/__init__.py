"""The mesh, skeleton and texture of the demo person."""
