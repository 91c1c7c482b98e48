"""How codebooks learn: k-means first, moving averages then, and no code stays dead."""

import pytest
import torch
from torch import Generator, Tensor

from models.motion.tokenizer import Tokenizer, TokenizerConfig, nearest
from training.networks.codebooks import (
    DEAD,
    DECAY,
    Codebook,
    LearningTokenizer,
    drawn_rows,
    first_codebook,
    k_means,
    perplexity,
    updated,
)

SMALL = TokenizerConfig(channels=6, width=4, codes=8, depth=2)


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def seeded(seed: int = 1) -> Generator:
    return Generator().manual_seed(seed)


def clusters(*centres: float, each: int = 20) -> Tensor:
    """Points close to some places of a line in the plane, [V, 2]."""
    places = torch.tensor(centres).repeat_interleave(each)
    return torch.stack([places, places], dim=1) + 0.01 * draw(len(places), 2)


@pytest.fixture
def learner() -> LearningTokenizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LearningTokenizer(Tokenizer(SMALL)).train()


def learn(learner: LearningTokenizer, poses: Tensor, seed: int = 1) -> None:
    """A step of the codebooks."""
    generator = seeded(seed)
    learner.begin(poses, generator)
    learner.learn(poses, generator)


def test_k_means_finds_clusters_that_are_apart() -> None:
    vectors = clusters(0, 5, 10)
    means, counts = k_means(vectors, torch.tensor([[1.0, 1], [6, 6], [8, 8]]))
    torch.testing.assert_close(means[:, 0], torch.tensor([0.0, 5, 10]), rtol=0, atol=0.01)
    assert counts.tolist() == [20, 20, 20]


def test_a_mean_that_nobody_chooses_stays() -> None:
    means, counts = k_means(clusters(0, 5), torch.tensor([[0.0, 0], [5, 5], [99, 99]]))
    assert means[2].tolist() == [99, 99]
    assert counts.tolist() == [20, 20, 0]


def test_rows_are_drawn_without_repeats_where_there_are_enough() -> None:
    vectors = torch.arange(10.0)[:, None]
    assert sorted(drawn_rows(vectors, 10, seeded())[:, 0].tolist()) == list(range(10))
    few = drawn_rows(vectors[:3], 50, seeded())
    assert few.shape == (50, 1)
    assert set(few[:, 0].tolist()) == {0, 1, 2}


def test_the_first_codebook_is_k_means_of_the_first_batch() -> None:
    vectors = clusters(0, 5, 10)
    book = first_codebook(vectors, 3, seeded(2))
    expected, counts = k_means(vectors, drawn_rows(vectors, 3, seeded(2)))
    assert torch.equal(book.codes, expected)
    assert torch.equal(book.counts, counts.float())


def test_codes_move_towards_the_mean_of_those_who_choose_them() -> None:
    book = Codebook(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([10.0]))
    vectors = torch.full((10, 2), 4.0)
    chosen = torch.zeros(10, dtype=torch.long)
    for step in range(1, 4):
        book = updated(book, vectors, chosen, vectors[:1])
        expected = 4 * (1 - DECAY**step)
        torch.testing.assert_close(book.codes, torch.full((1, 2), expected), rtol=1e-4, atol=0)
        assert float(book.counts) == pytest.approx(10)


def dead_one(vectors: Tensor) -> Codebook:
    """Two codes in the middle of the vectors, one far away that nobody chooses any more."""
    codes = torch.tensor([[0.0, 0], [10, 10], [99, 99]])
    counts = torch.tensor([20.0, 20, 0.5])
    assert not (nearest(vectors, codes) == 2).any()
    return Codebook(codes, codes * counts[:, None], counts)


def learned(book: Codebook, vectors: Tensor, steps: int, *, revive: bool) -> Codebook:
    generator = seeded()
    for _ in range(steps):
        chosen = nearest(vectors, book.codes)
        rows = drawn_rows(vectors, len(book.codes), generator)
        book = updated(book, vectors, chosen, rows, revive=revive)
    return book


def test_a_dead_code_is_revived_at_a_vector_of_the_batch() -> None:
    vectors = clusters(0, 5, 10)
    before = dead_one(vectors)
    book = learned(before, vectors, 1, revive=True)
    assert torch.cdist(book.codes[2:], vectors).min() < 0.01
    assert float(book.counts[2]) > float(before.counts[2])


def test_a_revived_code_that_is_chosen_stays_where_it_was_put() -> None:
    vectors = clusters(0, 5, 10)
    book = dead_one(vectors)
    for row in (20, 0, 40):  # put into the middle cluster; two more rows wait in vain
        chosen = nearest(vectors, book.codes)
        book = updated(book, vectors, chosen, vectors[row].expand(3, -1))
    torch.testing.assert_close(book.codes[2], torch.tensor([5.0, 5.0]), rtol=0, atol=0.1)
    assert float(book.counts[2]) > DEAD * float(book.counts.mean())


def test_in_the_end_a_dead_code_serves_the_cluster_without_one() -> None:
    vectors = clusters(0, 5, 10)
    book = dead_one(vectors)
    before = torch.cdist(vectors, book.codes).amin(1).max()
    book = learned(book, vectors, 300, revive=True)
    after = torch.cdist(vectors, book.codes).amin(1).max()
    assert before > 7
    assert after < 6.9
    assert (book.counts > DEAD * book.counts.mean()).all()


def test_as_the_reference_does_it_a_dead_code_stays_dead() -> None:
    vectors = clusters(0, 5, 10)
    book = learned(dead_one(vectors), vectors, 300, revive=False)
    assert book.codes[2].min() > 50


def test_the_first_batch_sets_every_codebook(learner: LearningTokenizer) -> None:
    before = learner.tokenizer.codebooks.detach().clone()
    assert not learner.begun
    learn(learner, draw(4, 5, 6))
    assert learner.begun
    assert (learner.counts.sum(1) > 15).all()
    assert ((learner.tokenizer.codebooks - before).abs().amin((1, 2)) > 0).all()


def test_later_batches_move_codebooks_a_little(learner: LearningTokenizer) -> None:
    learner.revive = False
    poses = draw(4, 5, 6)
    learn(learner, poses)
    before = learner.tokenizer.codebooks.detach().clone()
    learn(learner, poses)
    moved = (learner.tokenizer.codebooks - before).abs().max()
    assert 0 < moved < 0.2


def test_what_is_only_looked_at_moves_nothing(learner: LearningTokenizer) -> None:
    for _ in range(2):
        before = {name: value.clone() for name, value in learner.state_dict().items()}
        learner(draw(4, 5, 6))
        for name, value in learner.state_dict().items():
            assert torch.equal(value, before[name]), name
        learn(learner, draw(4, 5, 6))  # and again once it has begun


def test_the_first_batch_is_quantised_by_codes_of_its_own(learner: LearningTokenizer) -> None:
    poses = draw(4, 5, 6)
    random = learner(poses)[1].commitment
    learner.begin(poses, seeded())
    assert learner(poses)[1].commitment < 0.5 * random
    before = learner.tokenizer.codebooks.detach().clone()
    learner.begin(draw(4, 5, 6, seed=2), seeded())
    assert torch.equal(learner.tokenizer.codebooks, before)


def test_what_is_learned_is_what_the_tokenizer_then_does(learner: LearningTokenizer) -> None:
    for seed in range(3):
        learn(learner, draw(4, 5, 6, seed=seed), seed)
    poses = draw(2, 5, 6, seed=9)
    predicted, quantised = learner(poses)
    tokens = learner.tokenizer.encode(poses)
    assert torch.equal(quantised.tokens.view(2, 5, -1), tokens)
    torch.testing.assert_close(predicted, learner.tokenizer.decode(tokens))


def test_the_gradient_passes_the_quantiser_as_if_it_were_not_there(
    learner: LearningTokenizer,
) -> None:
    vectors = draw(20, 4).requires_grad_()
    weights = draw(20, 4, seed=2)
    quantised = learner.quantise(vectors)
    (quantised.latent * weights).sum().backward()
    torch.testing.assert_close(vectors.grad, weights)


def test_commitment_is_the_distance_to_the_codes(learner: LearningTokenizer) -> None:
    learner.eval()
    vectors = draw(20, 4)
    quantised = learner.quantise(vectors)
    left, parts = vectors, []
    for level, book in enumerate(learner.tokenizer.codebooks):
        code = book[quantised.tokens[:, level]]
        parts.append((left - code).square().mean())
        left = left - code
    torch.testing.assert_close(quantised.commitment, torch.stack(parts).mean())
    torch.testing.assert_close(quantised.latent, vectors - left)


def test_no_gradient_reaches_a_codebook(learner: LearningTokenizer) -> None:
    predicted, quantised = learner(draw(4, 5, 6))
    (predicted.square().mean() + quantised.commitment).backward()
    assert learner.tokenizer.codebooks.grad is None
    assert learner.tokenizer.encoder_in.weight.grad is not None


def test_perplexity_counts_the_codes_in_use() -> None:
    assert float(perplexity(torch.arange(8), 8)) == pytest.approx(8, rel=1e-4)
    assert float(perplexity(torch.zeros(8).long(), 8)) == pytest.approx(1, rel=1e-4)
    assert float(perplexity(torch.tensor([0, 1]).repeat(10), 8)) == pytest.approx(2, rel=1e-4)
