"""Skinning of meshes."""
