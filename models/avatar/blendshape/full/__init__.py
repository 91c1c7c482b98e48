"""Shading `full` of the blendshape avatar: shadows, scattering, occlusion, hair, eyes and cloth."""
