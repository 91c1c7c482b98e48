"""Face and body denoisers: sharing, caching and batching do not change the results."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models import checkpoint
from models.checkpoint import CheckpointError
from models.motion.denoiser import (
    TAIL_DILATIONS,
    BodyDenoiser,
    Condition,
    Denoiser,
    DenoiserConfig,
    load_body,
    load_face,
    with_neighbours,
)
from models.motion.layers import DecoderLayer
from tests import tiny_person
from tests.models.motion.golden import zeroed_after_end

CPU = torch.device("cpu")
FRAMES, ROWS, KEYS = 40, 40, 2
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def features(clips: int = 1) -> Tensor:
    return randn(clips, ROWS, tiny_person.AUDIO, seed=7)


@pytest.fixture
def face() -> Denoiser:
    return tiny_person.tiny_networks().face


@pytest.fixture
def body() -> BodyDenoiser:
    return tiny_person.tiny_networks().body


def body_condition(body: BodyDenoiser, clips: int = 1) -> Condition:
    """Guided condition with key poses."""
    condition = body.guided_condition(body.tokens(features(clips)), FRAMES)
    return body.with_keys(condition, body.guided_key_tokens(randn(clips, KEYS, 104, seed=8)))


def times(*t: int) -> Tensor:
    return torch.tensor(t)


def test_takes_with_a_shared_condition_equal_takes_alone(face: Denoiser) -> None:
    condition = face.condition(face.tokens(features()), FRAMES)
    x = randn(3, FRAMES, 256)
    together = face(x, times(500), condition)
    alone = torch.cat([face(take[None], times(500), condition) for take in x])
    torch.testing.assert_close(together, alone, **CLOSE)


def test_takes_of_several_clips_are_ordered_by_clip(face: Denoiser) -> None:
    tokens = face.tokens(features(2))
    x = randn(4, FRAMES, 256)
    together = face(x, times(500, 20), face.condition(tokens, FRAMES))
    alone = [
        face(x[2 * clip : 2 * clip + 2], times(t), face.condition(tokens[clip : clip + 1], FRAMES))
        for clip, t in enumerate((500, 20))
    ]
    torch.testing.assert_close(together, torch.cat(alone), **CLOSE)


@pytest.mark.parametrize("clips", [1, 2])
def test_a_guided_condition_has_a_half_with_and_a_half_without_the_clip(
    face: Denoiser, clips: int
) -> None:
    tokens, x = face.tokens(features(clips)), randn(clips, FRAMES, 256)
    guided = face.guided_condition(tokens, FRAMES)
    known, unknown = face(torch.cat([x, x]), times(*[300] * 2 * clips), guided).chunk(2)
    for half, keeps in ((known, True), (unknown, False)):
        condition = face.condition(tokens, FRAMES, keep=torch.tensor([keeps] * clips))
        torch.testing.assert_close(half, face(x, times(*[300] * clips), condition), **CLOSE)
    assert not torch.allclose(known, unknown)


def test_without_a_condition_the_prediction_does_not_depend_on_the_clip(body: BodyDenoiser) -> None:
    x, keep = randn(1, FRAMES, 104), torch.tensor([False])
    predictions = []
    for seed in (1, 2):
        tokens = body.tokens(randn(1, ROWS, tiny_person.AUDIO, seed=seed))
        condition = body.condition(tokens, FRAMES, keep=keep)
        keys = body.key_tokens(randn(1, KEYS, 104, seed=seed), keep)
        predictions.append(body(x, times(10), body.with_keys(condition, keys)))
    assert torch.equal(*predictions)


def test_guided_key_tokens_have_halves_with_and_without_key_poses(
    body: BodyDenoiser,
) -> None:
    keys = randn(2, KEYS, 104)
    known, unknown = body.guided_key_tokens(keys).chunk(2)
    assert torch.equal(known, body.key_tokens(keys))
    assert torch.equal(unknown, body.key_tokens(keys, torch.zeros(2, dtype=torch.bool)))


def test_gradients_do_not_change_the_prediction(body: BodyDenoiser) -> None:
    x, predictions = randn(4, FRAMES, 104), []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            predictions.append(body(x, times(700, 700), body_condition(body)).clone())
    for prediction in predictions[1:]:
        torch.testing.assert_close(prediction.detach(), predictions[0].detach(), **CLOSE)


@torch.inference_mode()
def test_a_condition_can_be_reused_after_other_steps(body: BodyDenoiser) -> None:
    condition, x = body_condition(body), randn(2, FRAMES, 104)
    before = body(x, times(700, 700), condition)
    body(x, times(3, 3), condition)
    assert torch.equal(body(x, times(700, 700), condition), before)


def test_the_prediction_depends_on_the_timestep(face: Denoiser) -> None:
    condition, x = face.condition(face.tokens(features()), FRAMES), randn(1, FRAMES, 256)
    assert not torch.allclose(face(x, times(1), condition), face(x, times(900), condition))


def test_every_parameter_gets_a_gradient(body: BodyDenoiser) -> None:
    keep = torch.tensor([True, False])
    condition = body.condition(body.tokens(features(2)), FRAMES, keep=keep)
    keys = body.key_tokens(randn(2, KEYS, 104), keep)
    predicted = body(randn(2, FRAMES, 104), times(5, 900), body.with_keys(condition, keys))
    torch.autograd.backward(predicted.square().mean())
    without = [name for name, value in body.named_parameters() if value.grad is None]
    assert without == []


def test_a_window_later_in_the_clip_has_other_positions(face: Denoiser) -> None:
    tokens, x = face.tokens(features()), randn(1, FRAMES, 256)
    first, later = (
        face(x, times(100), face.condition(tokens, FRAMES, first=start)) for start in (0, 300)
    )
    assert not torch.allclose(first, later)


def test_the_tail_of_the_body_is_causal(body: BodyDenoiser) -> None:
    for layer in body.layers:
        mute(layer)
    condition, at = body_condition(body), 10
    x = randn(1, FRAMES, 104)
    changed = x.clone()
    changed[:, at] += 1
    before, after = (body(torch.cat([y, y]), times(5, 5), condition)[0] for y in (x, changed))
    differs = (before != after).any(1).nonzero()[:, 0].tolist()
    assert differs[0] == at
    assert differs[-1] == at + 2 * sum(TAIL_DILATIONS)


def mute(layer: DecoderLayer) -> None:
    """Make the layer the identity: FiLM scales each branch by zero."""
    for film in (layer.self_film, *layer.memory_films, layer.ff_film):
        width = film.linear.in_features
        film.linear.weight.data.zero_()
        film.linear.bias.data = torch.cat([-torch.ones(width), torch.zeros(width)])


def test_a_token_depends_on_its_row_and_its_neighbours_only() -> None:
    rows = torch.arange(1.0, 5).view(1, 4, 1)
    assert with_neighbours(rows, 1)[0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0]]
    assert torch.equal(with_neighbours(rows, 0), rows)
    near = Denoiser(replace(tiny_person.FACE, audio_context=2, encoder_layers=0)).eval()
    rows = features()
    changed = rows.clone()
    changed[:, 20] += 1
    differs = (near.tokens(rows) != near.tokens(changed)).any(2)[0]
    assert differs.nonzero()[:, 0].tolist() == [18, 19, 20, 21, 22]


def test_the_error_for_a_clip_too_long_gives_both_numbers(face: Denoiser) -> None:
    with pytest.raises(ValueError, match=r"has 601 rows of speech features; .* at most 600"):
        face.tokens(torch.zeros(1, 601, tiny_person.AUDIO))


def test_the_error_for_features_of_another_width_gives_both_shapes(face: Denoiser) -> None:
    with pytest.raises(ValueError, match=rf"\[G, L, {tiny_person.AUDIO}\], got \[1, 40, 3\]"):
        face.tokens(torch.zeros(1, 40, 3))


def test_the_error_for_too_many_key_poses_gives_both_numbers(body: BodyDenoiser) -> None:
    with pytest.raises(ValueError, match="has 21 key poses; this network takes at most 20"):
        body.key_tokens(torch.zeros(1, 21, 104))


def test_key_poses_after_the_end_are_zeroed_in_a_copy() -> None:
    keys = torch.ones(3, 4, 2)
    zeroed = zeroed_after_end(keys, torch.tensor([30, 31, 120]))
    assert zeroed[..., 0].tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    assert torch.equal(keys, torch.ones(3, 4, 2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 30, "heads": 4}, "width 30 must be even and divisible by 4 heads"),
        ({"width": 9, "heads": 3}, "width 9"),
        ({"audio_context": -1}, "audio_context must be at least 0, got -1"),
        ({"longest_rows": 0}, "longest_rows must be at least 1, got 0"),
    ],
)
def test_invalid_sizes_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DenoiserConfig(channels=1, audio_channels=1, **wrong)


def test_saved_denoisers_are_restored_exactly(
    tmp_path: Path, face: Denoiser, body: BodyDenoiser
) -> None:
    for network, load in ((face, load_face), (body, load_body)):
        path = tmp_path / "network.safetensors"
        checkpoint.write(path, asdict(network.config), network.state_dict())
        loaded = load(path, device=CPU)
        assert loaded.config == network.config
        for name, value in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)


def test_a_face_denoiser_is_not_loaded_as_a_body_denoiser(tmp_path: Path, face: Denoiser) -> None:
    path = tmp_path / "body.safetensors"
    checkpoint.write(path, asdict(face.config), face.state_dict())
    with pytest.raises(CheckpointError, match=r"body\.safetensors: not a body denoiser: longest_k"):
        load_body(path, device=CPU)
    checkpoint.write(path, asdict(replace(face.config, longest_keys=2)), face.state_dict())
    with pytest.raises(CheckpointError, match="weights do not match BodyDenoiser: missing key_in"):
        load_body(path, device=CPU)
