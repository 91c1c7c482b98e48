"""Files of motion for animation tools: skeletons, meshes and face units in open formats."""
