"""Released people: networks that draw a skin of texels, and the mesh that carries it."""
