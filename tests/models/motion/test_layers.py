"""Layers against closed forms, and each optimisation against the plain computation."""

import math
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from models.motion.layers import (
    Attention,
    DecoderLayer,
    EncoderLayer,
    Film,
    KeysValues,
    Pooled,
    rotary_frequencies,
    rotate,
    time_embedding,
)

CPU = torch.device("cpu")
WIDTH, HEADS = 8, 2
Module = TypeVar("Module", bound=torch.nn.Module)


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(module: Module) -> Module:
    """Return the module with nonzero weights from a fixed seed and without dropout."""
    generator = torch.Generator().manual_seed(2)
    for value in module.parameters():
        value.data.normal_(0, 0.5, generator=generator)
    return module.eval()


@pytest.fixture
def layer() -> DecoderLayer:
    return seeded(DecoderLayer(WIDTH, HEADS, 16, memories=2))


def test_attention_scores_of_rotated_rows_depend_on_distance_only() -> None:
    query, key = randn(WIDTH, seed=1), randn(WIDTH, seed=2)
    freqs_cis = rotary_frequencies(40, WIDTH, device=CPU)
    scores = rotate(query.expand(40, -1), freqs_cis) @ rotate(key.expand(40, -1), freqs_cis).T
    for distance in range(-39, 40):
        same = scores.diagonal(distance)
        torch.testing.assert_close(same, same[:1].expand_as(same), rtol=0, atol=1e-4)


def test_a_pair_is_rotated_by_its_frequency_times_the_position() -> None:
    x = torch.tensor([1.0, 0.0, 0.0, 2.0])
    rotated = rotate(x[None].expand(4, -1), rotary_frequencies(4, 4, device=CPU))[3]
    fast, slow = 3.0, 3.0 / 100  # 10000^(-2i/d): 1 for the first pair, 1/100 for the second
    expected = [math.cos(fast), math.sin(fast), -2 * math.sin(slow), 2 * math.cos(slow)]
    torch.testing.assert_close(rotated, torch.tensor(expected))


def test_rotation_preserves_the_norm() -> None:
    x = randn(5, WIDTH)
    rotated = rotate(x, rotary_frequencies(5, WIDTH, device=CPU, first=1000))
    torch.testing.assert_close(rotated.norm(dim=1), x.norm(dim=1))


def test_frequencies_from_a_later_position_continue_the_table() -> None:
    whole, rest = (
        rotary_frequencies(50, 16, device=CPU),
        rotary_frequencies(20, 16, device=CPU, first=30),
    )
    assert torch.equal(rest, whole[30:])


def test_rotation_preserves_the_dtype() -> None:
    freqs_cis = rotary_frequencies(3, WIDTH, device=CPU)
    assert rotate(randn(3, WIDTH).bfloat16(), freqs_cis).dtype == torch.bfloat16


def test_the_time_embedding_starts_with_sines_of_falling_frequency() -> None:
    embedded = time_embedding(torch.tensor([0, 3]), 6)
    assert embedded[0].tolist() == [0, 0, 0, 1, 1, 1]
    angles = torch.tensor([3.0, 0.03, 0.0003])
    torch.testing.assert_close(embedded[1], torch.cat([angles.sin(), angles.cos()]))


def test_attention_equals_that_of_torch() -> None:
    attention = seeded(Attention(WIDTH, HEADS))
    reference = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    reference.load_state_dict(
        {
            "in_proj_weight": attention.in_weight,
            "in_proj_bias": attention.in_bias,
            "out_proj.weight": attention.out.weight,
            "out_proj.bias": attention.out.bias,
        }
    )
    x, rotated, plain = randn(2, 5, WIDTH), randn(2, 7, WIDTH, seed=3), randn(2, 7, WIDTH, seed=4)
    got = attention.attend(attention.queries(x), attention.keys_values(rotated, plain))
    torch.testing.assert_close(got, reference(x, rotated, plain)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("takes", [1, 3])
def test_a_shared_memory_equals_a_repeated_one(takes: int) -> None:
    attention = seeded(Attention(WIDTH, HEADS))
    memory = attention.keys_values(randn(2, 7, WIDTH, seed=3), randn(2, 7, WIDTH, seed=4))
    queries = attention.queries(randn(2 * takes, 5, WIDTH))
    repeated = KeysValues(
        memory.keys.repeat_interleave(takes, 0), memory.values.repeat_interleave(takes, 0)
    )
    torch.testing.assert_close(
        attention.attend(queries, memory), attention.attend(queries, repeated)
    )


def test_causal_attention_does_not_look_ahead() -> None:
    attention = seeded(Attention(WIDTH, HEADS))
    x = randn(1, 6, WIDTH)
    changed = x.clone()
    changed[:, 4:] += 1
    before, after = (
        attention.attend(attention.queries(rows), attention.keys_values(rows, rows), causal=True)
        for rows in (x, changed)
    )
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_decoding_row_by_row_equals_the_causal_forward_pass(layer: DecoderLayer) -> None:
    x, cond = randn(2, 6, WIDTH), randn(2, WIDTH, seed=3)
    freqs_cis = rotary_frequencies(6, WIDTH, device=CPU)
    memories = [
        attention.keys_values(randn(2, 5, WIDTH, seed=4), randn(2, 5, WIDTH, seed=5))
        for attention in layer.memory_attentions
    ]
    plain = layer(x, freqs_cis, cond, memories, causal=True)
    empty = torch.full((2, HEADS, 6, WIDTH // HEADS), math.nan)  # unwritten rows must not be read
    past = KeysValues(empty, empty.clone())
    for row in range(6):
        step = slice(row, row + 1)
        got = layer.step(x[:, step], freqs_cis[step], cond, memories, past=past, position=row)
        torch.testing.assert_close(got, plain[:, step], rtol=1e-4, atol=1e-5)


def test_a_decoder_layer_requires_all_its_memories(layer: DecoderLayer) -> None:
    memory = layer.memory_attentions[0].keys_values(randn(1, 5, WIDTH), randn(1, 5, WIDTH))
    freqs_cis = rotary_frequencies(3, WIDTH, device=CPU)
    with pytest.raises(ValueError, match="zip"):
        layer(randn(1, 3, WIDTH), freqs_cis, randn(1, WIDTH), [memory])


def test_an_encoder_layer_without_projections_depends_on_distances_only() -> None:
    encoder = seeded(EncoderLayer(WIDTH, HEADS, 16))
    x = randn(1, 9, WIDTH)
    here, there = (
        encoder(x, rotary_frequencies(9, WIDTH, device=CPU, first=first)) for first in (0, 1)
    )
    assert not torch.equal(here, there)  # the projections come between rotation and score
    with torch.no_grad():
        encoder.self_attention.in_weight[: 2 * WIDTH] = torch.eye(WIDTH).repeat(2, 1)
        encoder.self_attention.in_bias.zero_()
        encoder.self_attention.heads = 1
    here, there = (
        encoder(x, rotary_frequencies(9, WIDTH, device=CPU, first=first)) for first in (0, 100)
    )
    torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-4)


def test_film_scales_and_shifts_and_is_the_identity_for_zeros() -> None:
    film, y = Film(2), randn(1, 3, 2)
    torch.nn.init.zeros_(film.linear.weight)
    torch.nn.init.zeros_(film.linear.bias)
    assert torch.equal(film(y, torch.zeros(1, 2)), y)
    film.linear.bias.data = torch.tensor([1.0, -1.0, 5.0, 7.0])  # scales, then shifts
    expected = torch.stack([2 * y[..., 0] + 5, torch.full((1, 3), 7.0)], dim=-1)
    torch.testing.assert_close(film(y, torch.zeros(1, 2)), expected)


def test_pooling_does_not_depend_on_the_order_of_rows() -> None:
    pooled, x = seeded(Pooled(WIDTH)), randn(2, 6, WIDTH)
    torch.testing.assert_close(pooled(x), pooled(x.flip(1)))


def test_writing_into_padding_equals_concatenation() -> None:
    first = KeysValues(randn(2, HEADS, 3, 4), randn(2, HEADS, 3, 4, seed=2))
    second = KeysValues(randn(2, HEADS, 2, 4, seed=3), randn(2, HEADS, 2, 4, seed=4))
    padded = first.pad(2)
    assert padded.keys.shape[2] == 5
    padded.write(3, second)
    joined = first.concat(second)
    assert torch.equal(padded.keys, joined.keys)
    assert torch.equal(padded.values, joined.values)
    assert torch.equal(joined.prefix(3).keys, first.keys)
    assert torch.equal(joined.prefix(3).values, first.values)
