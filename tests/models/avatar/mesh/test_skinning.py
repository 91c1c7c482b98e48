"""Quaternions, joints and skinning against closed forms."""

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
    """Three joints in a row along x, with one parameter per channel."""
    offsets = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.float64)
    rotations = euler_quaternion(torch.tensor([[0.1, 0.2, 0.3]] * 3, dtype=torch.float64))
    transform = torch.eye(PARAMETERS, dtype=torch.float64)
    return Skeleton((-1, 0, 1), offsets, rotations, transform, torch.zeros_like(transform[0]))


def straight(chain: Skeleton) -> Skeleton:
    rotations = torch.tensor([[0.0, 0, 0, 1]] * 3, dtype=torch.float64)
    return Skeleton(
        chain.parents, chain.offsets, rotations, chain.transform, chain.transform_offsets
    )


def random(*shape: int) -> torch.Tensor:
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


def test_a_scale_channel_of_one_doubles_the_child_joints(chain: Skeleton) -> None:
    pose = torch.zeros(1, PARAMETERS, dtype=torch.float64)
    pose[0, len(CHANNELS) + CHANNELS.index("sc")] = 1.0
    states = joint_states(straight(chain), pose)
    assert states[0, 2, 0].item() == pytest.approx(1 + 2)


def test_euler_angles_rotate_about_x_first() -> None:
    angles = torch.tensor([math.pi / 2, 0.0, math.pi / 2], dtype=torch.float64)
    up = torch.tensor([0.0, 1, 0], dtype=torch.float64)
    turned = rotate(euler_quaternion(angles), up)  # y -> z about x, then z stays about z
    torch.testing.assert_close(turned, torch.tensor([0.0, 0, 1], dtype=torch.float64))


def test_a_quaternion_and_its_matrix_rotate_alike() -> None:
    q = euler_quaternion(random(5, 3))
    v = random(5, 3)
    torch.testing.assert_close(rotate(q, v), (quaternion_matrix(q) @ v[..., None])[..., 0])


def test_rotating_by_a_product_is_rotating_twice() -> None:
    a, b = euler_quaternion(random(2, 4, 3))
    v = random(4, 3)
    torch.testing.assert_close(rotate(quaternion_product(a, b), v), rotate(a, rotate(b, v)))


def test_a_state_and_its_inverse_cancel(chain: Skeleton) -> None:
    states = joint_states(chain, 0.3 * random(2, PARAMETERS))
    undone = inverse_states(inverse_states(states))
    torch.testing.assert_close(undone, states)


def test_unskin_is_the_inverse_of_skin(chain: Skeleton) -> None:
    matrices = joint_matrices(chain, 0.3 * random(2, PARAMETERS))
    vertices = random(2, 10, 3)
    weights = torch.rand(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = weights / weights.sum(1, keepdim=True)
    joints = torch.tensor([[0, 1], [1, 2]] * 5)
    posed = skin(vertices, weights, joints, matrices)
    torch.testing.assert_close(unskin(posed, weights, joints, matrices), vertices)
    assert not torch.allclose(posed, vertices, atol=0.1)


def test_a_vertex_with_one_joint_follows_only_that_joint(chain: Skeleton) -> None:
    matrices = joint_matrices(chain, 0.3 * random(1, PARAMETERS))
    one = torch.ones(1, 1, dtype=torch.float64)
    assert torch.equal(blend_matrices(one, torch.tensor([[2]]), matrices)[:, 0], matrices[:, 2])


def test_a_pose_of_the_wrong_width_raises_an_error(chain: Skeleton) -> None:
    with pytest.raises(ValueError, match=r"pose must be \[B, 21\], got \[1, 20\]"):
        joint_states(chain, torch.zeros(1, 20, dtype=torch.float64))


def test_a_joint_before_its_parent_raises_an_error(chain: Skeleton) -> None:
    with pytest.raises(ValueError, match="joint 0 comes before its parent 1"):
        Skeleton(
            (1, -1, 1), chain.offsets, chain.rotations, chain.transform, chain.transform_offsets
        )
