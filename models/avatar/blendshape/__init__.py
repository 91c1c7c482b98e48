"""The blendshape avatar: the kind of the demo person."""
