"""Rotations, joints and skin against closed forms."""

import math

import pytest
import torch

from models.avatar.mesh.skinning import (
    CHANNELS,
    Skeleton,
    blend_matrices,
    euler_quaternion,
    inverse_states,
    joint_matrices,
    joint_states,
    quaternion_matrix,
    quaternion_product,
    rotate,
    skin,
    unskin,
)

PARAMETERS = 3 * len(CHANNELS)


@pytest.fixture
def chain() -> Skeleton:
    """Three joints in a row along x, each channel a parameter of its own."""
    offsets = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.float64)
    rotations = euler_quaternion(torch.tensor([[0.1, 0.2, 0.3]] * 3, dtype=torch.float64))
    transform = torch.eye(PARAMETERS, dtype=torch.float64)
    return Skeleton((-1, 0, 1), offsets, rotations, transform, torch.zeros_like(transform[0]))


def straight(chain: Skeleton) -> Skeleton:
    rotations = torch.tensor([[0.0, 0, 0, 1]] * 3, dtype=torch.float64)
    return Skeleton(
        chain.parents, chain.offsets, rotations, chain.transform, chain.transform_offsets
    )


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_zero_pose_moves_nothing(chain: Skeleton) -> None:
    matrices = joint_matrices(chain, torch.zeros(1, PARAMETERS, dtype=torch.float64))
    rest = torch.eye(3, 4, dtype=torch.float64).expand(1, 3, 3, 4)
    torch.testing.assert_close(matrices, rest)


def test_a_quarter_turn_of_the_root_turns_the_whole_chain(chain: Skeleton) -> None:
    pose = torch.zeros(1, PARAMETERS, dtype=torch.float64)
    pose[0, CHANNELS.index("rz")] = math.pi / 2
    states = joint_states(straight(chain), pose)
    expected = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 2, 0]], dtype=torch.float64)
    torch.testing.assert_close(states[0, :, :3], expected)


def test_a_scale_of_one_doubles_what_hangs_below(chain: Skeleton) -> None:
    pose = torch.zeros(1, PARAMETERS, dtype=torch.float64)
    pose[0, len(CHANNELS) + CHANNELS.index("sc")] = 1.0
    states = joint_states(straight(chain), pose)
    assert states[0, 2, 0].item() == pytest.approx(1 + 2)


def test_euler_angles_turn_about_x_first() -> None:
    angles = torch.tensor([math.pi / 2, 0.0, math.pi / 2], dtype=torch.float64)
    up = torch.tensor([0.0, 1, 0], dtype=torch.float64)
    turned = rotate(euler_quaternion(angles), up)  # y -> z about x, then z stays about z
    torch.testing.assert_close(turned, torch.tensor([0.0, 0, 1], dtype=torch.float64))


def test_a_quaternion_and_its_matrix_turn_alike() -> None:
    q = euler_quaternion(draw(5, 3))
    v = draw(5, 3)
    torch.testing.assert_close(rotate(q, v), (quaternion_matrix(q) @ v[..., None])[..., 0])


def test_turning_by_a_product_is_turning_twice() -> None:
    a, b = euler_quaternion(draw(2, 4, 3))
    v = draw(4, 3)
    torch.testing.assert_close(rotate(quaternion_product(a, b), v), rotate(a, rotate(b, v)))


def test_a_state_and_its_inverse_cancel(chain: Skeleton) -> None:
    states = joint_states(chain, 0.3 * draw(2, PARAMETERS))
    undone = inverse_states(inverse_states(states))
    torch.testing.assert_close(undone, states)


def test_skin_that_was_posed_can_be_unposed(chain: Skeleton) -> None:
    matrices = joint_matrices(chain, 0.3 * draw(2, PARAMETERS))
    vertices = draw(2, 10, 3)
    weights = torch.rand(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = weights / weights.sum(1, keepdim=True)
    joints = torch.tensor([[0, 1], [1, 2]] * 5)
    posed = skin(vertices, weights, joints, matrices)
    torch.testing.assert_close(unskin(posed, weights, joints, matrices), vertices)
    assert not torch.allclose(posed, vertices, atol=0.1)


def test_a_vertex_on_one_joint_follows_it_alone(chain: Skeleton) -> None:
    matrices = joint_matrices(chain, 0.3 * draw(1, PARAMETERS))
    one = torch.ones(1, 1, dtype=torch.float64)
    assert torch.equal(blend_matrices(one, torch.tensor([[2]]), matrices)[:, 0], matrices[:, 2])


def test_a_pose_of_another_width_is_refused(chain: Skeleton) -> None:
    with pytest.raises(ValueError, match=r"pose must be \[B, 21\], got \[1, 20\]"):
        joint_states(chain, torch.zeros(1, 20, dtype=torch.float64))


def test_a_joint_before_its_parent_is_refused(chain: Skeleton) -> None:
    with pytest.raises(ValueError, match="joint 0 comes before its parent 1"):
        Skeleton(
            (1, -1, 1), chain.offsets, chain.rotations, chain.transform, chain.transform_offsets
        )
