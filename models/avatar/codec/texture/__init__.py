"""UV maps, seams and the sampling of a codec avatar's texture."""
