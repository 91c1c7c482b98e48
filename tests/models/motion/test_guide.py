"""Guide: incremental decoding, nucleus sampling, limits of the clip."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from models import checkpoint
from models.motion.guide import (
    Guide,
    GuideConfig,
    IncrementalDecoder,
    generate,
    load_guide,
    nucleus,
)
from tests import tiny_person
from tests.models.motion.golden import probabilities_by_token

ROWS, KEYS, DEPTH = 60, 3, 2


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


def seeds(*numbers: int) -> list[Generator]:
    return [Generator().manual_seed(number) for number in numbers]


@pytest.fixture
def guide() -> Guide:
    """Three layers, with logits far enough apart for distinct probabilities."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Guide(replace(tiny_person.GUIDE, layers=3)).eval()
    network.logits_out.weight.data *= 4
    return network.requires_grad_(requires_grad=False)


def sample_tokens(guide: Guide, numbers: list[int], features: Tensor, top_p: float = 0.9) -> Tensor:
    return generate(
        guide,
        guide.condition(features),
        keys=KEYS,
        depth=DEPTH,
        top_p=top_p,
        generators=seeds(*numbers),
    )


def test_incremental_decoding_equals_the_plain_forward_pass(guide: Guide) -> None:
    condition = guide.condition(randn(2, ROWS, tiny_person.AUDIO))
    tokens = torch.randint(guide.config.codes, (2, 12), generator=Generator().manual_seed(3))
    tokens[:, 0] = guide.start
    plain = guide(tokens, condition)
    decoder = IncrementalDecoder(guide, condition, 12)
    for position in range(12):
        got = decoder.step(tokens[:, position])
        torch.testing.assert_close(got, plain[:, position], rtol=1e-4, atol=1e-5)


def test_a_later_token_does_not_change_earlier_logits(guide: Guide) -> None:
    condition = guide.condition(randn(1, ROWS, tiny_person.AUDIO))
    tokens = torch.tensor([[guide.start, 1, 2, 3]])
    other = torch.tensor([[guide.start, 1, 2, 7]])
    before, after = guide(tokens, condition), guide(other, condition)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


def test_greedy_tokens_are_the_most_likely_of_the_plain_forward_pass(guide: Guide) -> None:
    features = randn(1, ROWS, tiny_person.AUDIO)
    got = sample_tokens(guide, [1], features, top_p=1e-6).flatten(1)
    inputs = torch.cat([torch.tensor([[guide.start]]), got[:, :-1]], dim=1)
    best = guide(inputs, guide.condition(features)).argmax(-1)
    assert torch.equal(got, best)


def test_samples_follow_their_generator(guide: Guide) -> None:
    features = randn(1, ROWS, tiny_person.AUDIO)
    assert torch.equal(sample_tokens(guide, [5], features), sample_tokens(guide, [5], features))
    different = {tuple(sample_tokens(guide, [n], features).flatten().tolist()) for n in range(8)}
    assert len(different) > 4


def test_sequences_of_a_batch_are_independent(guide: Guide) -> None:
    features = randn(3, ROWS, tiny_person.AUDIO)
    together = sample_tokens(guide, [4, 5, 6], features)
    alone = [sample_tokens(guide, [4 + n], features[n : n + 1]) for n in range(3)]
    assert torch.equal(together, torch.cat(alone))


def test_tokens_are_grouped_by_key_pose(guide: Guide) -> None:
    shares: list[float] = []
    tokens = generate(
        guide,
        guide.condition(randn(2, ROWS, tiny_person.AUDIO)),
        keys=KEYS,
        depth=DEPTH,
        top_p=1.0,
        generators=seeds(1, 2),
        progress=shares.append,
    )
    assert tokens.shape == (2, KEYS, DEPTH)
    assert int(tokens.min()) >= 0
    assert int(tokens.max()) < guide.config.codes
    assert shares == [n / 6 for n in range(1, 7)]


def test_logits_depend_on_the_clip_unless_it_is_dropped(guide: Guide) -> None:
    tokens = torch.tensor([[guide.start, 1]])
    clips = [randn(1, ROWS, tiny_person.AUDIO, seed=seed) for seed in (1, 2)]
    first, second = (guide(tokens, guide.condition(clip)) for clip in clips)
    assert not torch.allclose(first, second)
    without = torch.tensor([False])
    first, second = (guide(tokens, guide.condition(clip, keep=without)) for clip in clips)
    assert torch.equal(first, second)


def test_the_nucleus_ends_with_the_token_that_crosses_top_p() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.3, 0.1], [0.97, 0.01, 0.01, 0.01]]).log()
    result = nucleus(logits, 0.7)
    torch.testing.assert_close(
        probabilities_by_token(result), torch.tensor([[0, 0.625, 0.375, 0], [1.0, 0, 0, 0]])
    )


def test_the_nucleus_contains_at_least_the_most_likely_token() -> None:
    logits = randn(16, 50)
    result = nucleus(logits, 1e-9)
    assert ((result.probabilities > 0).sum(1) == 1).all()
    assert torch.equal(probabilities_by_token(result).argmax(1), logits.argmax(1))


def test_a_top_p_of_one_keeps_all_tokens() -> None:
    logits = randn(16, 50)
    torch.testing.assert_close(probabilities_by_token(nucleus(logits, 1.0)), logits.softmax(-1))


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.94])
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(top_p: float) -> None:
    logits = randn(16, 50)
    selected = probabilities_by_token(nucleus(logits, top_p)) > 0
    probabilities = logits.softmax(-1)
    inside = (probabilities * selected).sum(1)
    weakest = torch.where(selected, probabilities, torch.ones_like(probabilities)).amin(1)
    assert (inside >= top_p - 1e-6).all()
    assert (inside - weakest < top_p).all()


def test_samples_come_from_the_nucleus_only() -> None:
    result = nucleus(torch.tensor([[0.6, 0.3, 0.1]]).log(), 0.8)
    generator = Generator().manual_seed(1)
    tokens = [int(result.sample([generator])) for _ in range(600)]
    assert set(tokens) == {0, 1}
    assert tokens.count(0) == pytest.approx(400, abs=50)


@pytest.mark.parametrize("rows", [24, 601])
def test_the_error_for_a_clip_of_another_length_gives_the_limits(guide: Guide, rows: int) -> None:
    with pytest.raises(ValueError, match=f"has {rows} rows of .* the guide takes 25 to 600"):
        guide.condition(torch.zeros(1, rows, tiny_person.AUDIO))


@pytest.mark.parametrize(("blocks", "fewest"), [(1, 25), (2, 49)])
def test_the_shortest_clip_leaves_one_row(blocks: int, fewest: int) -> None:
    config = replace(tiny_person.GUIDE, audio_blocks=blocks)
    assert config.fewest_rows == fewest
    condition = Guide(config).eval().condition(torch.zeros(1, fewest, tiny_person.AUDIO))
    assert condition.memories[0].keys.shape[2] == 1


def test_a_width_that_the_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="width 30 must be even and divisible by 4 heads"):
        GuideConfig(width=30)


def test_a_saved_guide_samples_the_same(tmp_path: Path, guide: Guide) -> None:
    path = tmp_path / "guide.safetensors"
    checkpoint.write(path, asdict(guide.config), guide.state_dict())
    loaded = load_guide(path, device=torch.device("cpu"))
    assert loaded.config == guide.config
    features = randn(1, ROWS, tiny_person.AUDIO)
    assert torch.equal(sample_tokens(loaded, [1], features), sample_tokens(guide, [1], features))
