"""The codec avatar: the kind of the released persons, a mesh with a neural texture."""
