"""Motion networks on torch's meta device: it refuses copies to the host and mixed devices."""

import pytest
import torch
from torch import Tensor

from bench.motion import build
from models.motion.guide import Nucleus
from models.motion.pipeline import Animator, Sampling, take_generators
from models.motion.sampling import noise_of
from tests.bench.sizes import TINY

META = torch.device("meta")
FEW = Sampling((1, 2), 3, 2.0, 1.5, 0.9, "unipc", guidance_until=25)


@pytest.fixture(scope="module")
def animator() -> Animator:
    return Animator(build(TINY, META), device=META)


def audio(frames: int = 120) -> Tensor:
    return torch.zeros(1600 * frames, 2)


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver", "unipc"])
def test_features_and_both_denoisers_stay_on_their_device(animator: Animator, sampler: str) -> None:
    sampling = Sampling((1, 2), 3, 2.0, 1.5, 0.9, sampler, guidance_until=25)
    features = animator.extract(audio())
    generators = take_generators(sampling)

    faces = animator.faces(features, sampling, generators)
    keys = torch.zeros(2, features.key_poses, 104, device=META)
    poses = animator.poses(features, keys, sampling, generators)

    assert (faces.device, poses.device) == (META, META)
    assert (faces.shape, poses.shape) == ((2, 120, 256), (2, 120, 104))


def test_of_the_guide_only_the_draw_of_a_token_leaves_the_device(
    animator: Animator, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = animator.extract(audio())
    with pytest.raises(NotImplementedError, match="meta tensor"):
        animator.keys(features, 0.9, take_generators(FEW))

    draws: list[torch.device] = []

    def draw(self: Nucleus, generators: object) -> Tensor:
        draws.append(self.probabilities.device)
        return self.tokens[:, 0]

    monkeypatch.setattr(Nucleus, "sample", draw)
    keys = animator.keys(features, 0.9, take_generators(FEW))

    assert keys.device == META
    assert draws == [META] * (2 * features.key_poses * TINY.tokenizer.depth)


def test_noise_is_drawn_on_the_host_for_equal_motion_on_all_devices() -> None:
    noise = noise_of(take_generators(FEW), 4, 3, META)
    assert (noise.device, noise.shape) == (META, (2, 4, 3))
