"""The parts of all networks against closed forms, and each short cut against the plain way."""

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


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(module: Module) -> Module:
    """With weights from a seed of its own, none of them zero, and no dropout."""
    generator = torch.Generator().manual_seed(2)
    for value in module.parameters():
        value.data.normal_(0, 0.5, generator=generator)
    return module.eval()


@pytest.fixture
def layer() -> DecoderLayer:
    return seeded(DecoderLayer(WIDTH, HEADS, 16, memories=2))


def test_turned_rows_score_by_their_distance_alone() -> None:
    query, key = draw(WIDTH, seed=1), draw(WIDTH, seed=2)
    freqs_cis = rotary_frequencies(40, WIDTH, device=CPU)
    scores = rotate(query.expand(40, -1), freqs_cis) @ rotate(key.expand(40, -1), freqs_cis).T
    for distance in range(-39, 40):
        same = scores.diagonal(distance)
        torch.testing.assert_close(same, same[:1].expand_as(same), rtol=0, atol=1e-4)


def test_a_pair_is_turned_by_its_own_speed_times_the_position() -> None:
    x = torch.tensor([1.0, 0.0, 0.0, 2.0])
    turned = rotate(x[None].expand(4, -1), rotary_frequencies(4, 4, device=CPU))[3]
    quick, slow = 3.0, 3.0 / 100  # 10000^(-2i/d): 1 for the first pair, 1/100 for the second
    expected = [math.cos(quick), math.sin(quick), -2 * math.sin(slow), 2 * math.cos(slow)]
    torch.testing.assert_close(turned, torch.tensor(expected))


def test_a_turn_keeps_the_length() -> None:
    x = draw(5, WIDTH)
    turned = rotate(x, rotary_frequencies(5, WIDTH, device=CPU, first=1000))
    torch.testing.assert_close(turned.norm(dim=1), x.norm(dim=1))


def test_turns_that_begin_later_continue_the_table() -> None:
    whole, rest = (
        rotary_frequencies(50, 16, device=CPU),
        rotary_frequencies(20, 16, device=CPU, first=30),
    )
    assert torch.equal(rest, whole[30:])


def test_rotation_keeps_the_type_of_what_it_turns() -> None:
    freqs_cis = rotary_frequencies(3, WIDTH, device=CPU)
    assert rotate(draw(3, WIDTH).bfloat16(), freqs_cis).dtype == torch.bfloat16


def test_the_time_embedding_begins_with_sines_from_fast_to_slow() -> None:
    embedded = time_embedding(torch.tensor([0, 3]), 6)
    assert embedded[0].tolist() == [0, 0, 0, 1, 1, 1]
    angles = torch.tensor([3.0, 0.03, 0.0003])
    torch.testing.assert_close(embedded[1], torch.cat([angles.sin(), angles.cos()]))


def test_attention_is_that_of_torch() -> None:
    ours = seeded(Attention(WIDTH, HEADS))
    theirs = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.in_weight,
            "in_proj_bias": ours.in_bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    x, rotated, plain = draw(2, 5, WIDTH), draw(2, 7, WIDTH, seed=3), draw(2, 7, WIDTH, seed=4)
    got = ours.attend(ours.queries(x), ours.keys_values(rotated, plain))
    torch.testing.assert_close(got, theirs(x, rotated, plain)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("takes", [1, 3])
def test_a_shared_memory_is_as_good_as_a_repeated_one(takes: int) -> None:
    attention = seeded(Attention(WIDTH, HEADS))
    memory = attention.keys_values(draw(2, 7, WIDTH, seed=3), draw(2, 7, WIDTH, seed=4))
    queries = attention.queries(draw(2 * takes, 5, WIDTH))
    repeated = KeysValues(
        memory.keys.repeat_interleave(takes, 0), memory.values.repeat_interleave(takes, 0)
    )
    torch.testing.assert_close(
        attention.attend(queries, memory), attention.attend(queries, repeated)
    )


def test_causal_attention_does_not_look_ahead() -> None:
    attention = seeded(Attention(WIDTH, HEADS))
    x = draw(1, 6, WIDTH)
    changed = x.clone()
    changed[:, 4:] += 1
    before, after = (
        attention.attend(attention.queries(rows), attention.keys_values(rows, rows), causal=True)
        for rows in (x, changed)
    )
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_a_decoder_row_by_row_is_the_causal_decoder(layer: DecoderLayer) -> None:
    x, cond = draw(2, 6, WIDTH), draw(2, WIDTH, seed=3)
    freqs_cis = rotary_frequencies(6, WIDTH, device=CPU)
    memories = [
        attention.keys_values(draw(2, 5, WIDTH, seed=4), draw(2, 5, WIDTH, seed=5))
        for attention in layer.memory_attentions
    ]
    plain = layer(x, freqs_cis, cond, memories, causal=True)
    room = torch.full((2, HEADS, 6, WIDTH // HEADS), math.nan)  # what is not filled must not count
    past = KeysValues(room, room.clone())
    for row in range(6):
        now = slice(row, row + 1)
        got = layer.step(x[:, now], freqs_cis[now], cond, memories, past=past, position=row)
        torch.testing.assert_close(got, plain[:, now], rtol=1e-4, atol=1e-5)


def test_a_decoder_needs_all_of_its_memories(layer: DecoderLayer) -> None:
    memory = layer.memory_attentions[0].keys_values(draw(1, 5, WIDTH), draw(1, 5, WIDTH))
    freqs_cis = rotary_frequencies(3, WIDTH, device=CPU)
    with pytest.raises(ValueError, match="zip"):
        layer(draw(1, 3, WIDTH), freqs_cis, draw(1, WIDTH), [memory])


def test_an_encoder_layer_depends_on_distances_not_on_places() -> None:
    encoder = seeded(EncoderLayer(WIDTH, HEADS, 16))
    x = draw(1, 9, WIDTH)
    here, there = (
        encoder(x, rotary_frequencies(9, WIDTH, device=CPU, first=first)) for first in (0, 1)
    )
    assert not torch.equal(here, there)  # the projections stand between the turn and the score
    with torch.no_grad():
        encoder.self_attention.in_weight[: 2 * WIDTH] = torch.eye(WIDTH).repeat(2, 1)
        encoder.self_attention.in_bias.zero_()
        encoder.self_attention.heads = 1
    here, there = (
        encoder(x, rotary_frequencies(9, WIDTH, device=CPU, first=first)) for first in (0, 100)
    )
    torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-4)


def test_film_of_zeros_changes_nothing_and_scales_and_shifts_otherwise() -> None:
    film, y = Film(2), draw(1, 3, 2)
    torch.nn.init.zeros_(film.linear.weight)
    torch.nn.init.zeros_(film.linear.bias)
    assert torch.equal(film(y, torch.zeros(1, 2)), y)
    film.linear.bias.data = torch.tensor([1.0, -1.0, 5.0, 7.0])  # scales, then shifts
    expected = torch.stack([2 * y[..., 0] + 5, torch.full((1, 3), 7.0)], dim=-1)
    torch.testing.assert_close(film(y, torch.zeros(1, 2)), expected)


def test_a_clip_as_one_vector_does_not_ask_for_the_order_of_its_rows() -> None:
    pooled, x = seeded(Pooled(WIDTH)), draw(2, 6, WIDTH)
    torch.testing.assert_close(pooled(x), pooled(x.flip(1)))


def test_rows_put_into_room_are_the_rows_that_follow() -> None:
    first = KeysValues(draw(2, HEADS, 3, 4), draw(2, HEADS, 3, 4, seed=2))
    second = KeysValues(draw(2, HEADS, 2, 4, seed=3), draw(2, HEADS, 2, 4, seed=4))
    grown = first.pad(2)
    assert grown.keys.shape[2] == 5
    grown.write(3, second)
    joined = first.concat(second)
    assert torch.equal(grown.keys, joined.keys)
    assert torch.equal(grown.values, joined.values)
    assert torch.equal(joined.prefix(3).keys, first.keys)
    assert torch.equal(joined.prefix(3).values, first.values)
