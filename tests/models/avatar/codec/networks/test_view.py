"""Vertex normals and view cosines against closed forms."""

import torch

from models.avatar.codec.networks.view import faces_around, facing_camera, vertex_normals

FLOOR = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 0, -1], [0, 3, 0]]])
FACES = torch.tensor([[0, 1, 2], [0, 1, 3]])  # the second is three times as large


def test_every_vertex_lists_the_faces_around_it() -> None:
    around = faces_around(FACES, 5)
    assert around.tolist() == [[0, 1], [0, 1], [0, 2], [1, 2], [2, 2]]


def test_small_and_large_faces_have_equal_weight() -> None:
    normals = vertex_normals(FLOOR, FACES, faces_around(FACES, 4))[0]
    half = 0.5**0.5
    expected = torch.tensor([[0, half, half], [0, half, half], [0, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(normals, expected)


def test_degenerate_faces_are_ignored() -> None:
    faces = torch.cat([FACES, torch.tensor([[0, 1, 1]])])
    normals = vertex_normals(FLOOR, faces, faces_around(faces, 4))
    assert torch.equal(normals, vertex_normals(FLOOR, FACES, faces_around(FACES, 4)))


def test_the_cosine_of_a_visible_surface_is_negative() -> None:
    up = torch.tensor([[[0.0, 1, 0]]])
    above, below = torch.tensor([0.0, 5, 0]), torch.tensor([0.0, -5, 0])
    assert facing_camera(torch.zeros(1, 1, 3), up, above).item() == -1
    assert facing_camera(torch.zeros(1, 1, 3), up, below).item() == 1
