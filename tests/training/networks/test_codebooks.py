"""Training of codebooks: k-means first, then moving averages; dead codes are revived."""

import pytest
import torch
from torch import Generator, Tensor

from models.motion.tokenizer import Tokenizer, TokenizerConfig, nearest
from training.networks.codebooks import (
    DEAD,
    DECAY,
    Codebook,
    LearningTokenizer,
    first_codebook,
    k_means,
    perplexity,
    sample_rows,
    update_codebook,
)

SMALL = TokenizerConfig(channels=6, width=4, codes=8, depth=2)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def seeded(seed: int = 1) -> Generator:
    return Generator().manual_seed(seed)


def clusters(*centres: float, each: int = 20) -> Tensor:
    """Points near centres on the diagonal of the plane, [V, 2]."""
    points = torch.tensor(centres).repeat_interleave(each)
    return torch.stack([points, points], dim=1) + 0.01 * normal(len(points), 2)


@pytest.fixture
def learner() -> LearningTokenizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LearningTokenizer(Tokenizer(SMALL)).train()


def train_step(learner: LearningTokenizer, poses: Tensor, seed: int = 1) -> None:
    """One training step of the codebooks."""
    generator = seeded(seed)
    learner.initialise(poses, generator)
    learner.update_codebooks(poses, generator)


def test_k_means_finds_separate_clusters() -> None:
    vectors = clusters(0, 5, 10)
    means, counts = k_means(vectors, torch.tensor([[1.0, 1], [6, 6], [8, 8]]))
    torch.testing.assert_close(means[:, 0], torch.tensor([0.0, 5, 10]), rtol=0, atol=0.01)
    assert counts.tolist() == [20, 20, 20]


def test_a_mean_without_vectors_stays() -> None:
    means, counts = k_means(clusters(0, 5), torch.tensor([[0.0, 0], [5, 5], [99, 99]]))
    assert means[2].tolist() == [99, 99]
    assert counts.tolist() == [20, 20, 0]


def test_rows_are_sampled_without_replacement_if_possible() -> None:
    vectors = torch.arange(10.0)[:, None]
    assert sorted(sample_rows(vectors, 10, seeded())[:, 0].tolist()) == list(range(10))
    few = sample_rows(vectors[:3], 50, seeded())
    assert few.shape == (50, 1)
    assert set(few[:, 0].tolist()) == {0, 1, 2}


def test_the_first_codebook_is_k_means_of_the_first_batch() -> None:
    vectors = clusters(0, 5, 10)
    codebook = first_codebook(vectors, 3, seeded(2))
    expected, counts = k_means(vectors, sample_rows(vectors, 3, seeded(2)))
    assert torch.equal(codebook.codes, expected)
    assert torch.equal(codebook.counts, counts.float())


def test_codes_move_towards_the_mean_of_their_vectors() -> None:
    codebook = Codebook(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([10.0]))
    vectors = torch.full((10, 2), 4.0)
    chosen = torch.zeros(10, dtype=torch.long)
    for step in range(1, 4):
        codebook = update_codebook(codebook, vectors, chosen, vectors[:1])
        expected = 4 * (1 - DECAY**step)
        torch.testing.assert_close(codebook.codes, torch.full((1, 2), expected), rtol=1e-4, atol=0)
        assert float(codebook.counts) == pytest.approx(10)


def with_dead_code(vectors: Tensor) -> Codebook:
    """Two codes among the vectors, and one far away without vectors."""
    codes = torch.tensor([[0.0, 0], [10, 10], [99, 99]])
    counts = torch.tensor([20.0, 20, 0.5])
    assert not (nearest(vectors, codes) == 2).any()
    return Codebook(codes, codes * counts[:, None], counts)


def train_steps(codebook: Codebook, vectors: Tensor, steps: int, *, revive: bool) -> Codebook:
    generator = seeded()
    for _ in range(steps):
        chosen = nearest(vectors, codebook.codes)
        rows = sample_rows(vectors, len(codebook.codes), generator)
        codebook = update_codebook(codebook, vectors, chosen, rows, revive=revive)
    return codebook


def test_a_dead_code_is_revived_at_a_vector_of_the_batch() -> None:
    vectors = clusters(0, 5, 10)
    before = with_dead_code(vectors)
    codebook = train_steps(before, vectors, 1, revive=True)
    assert torch.cdist(codebook.codes[2:], vectors).min() < 0.01
    assert float(codebook.counts[2]) > float(before.counts[2])


def test_a_revived_code_with_vectors_stays() -> None:
    vectors = clusters(0, 5, 10)
    codebook = with_dead_code(vectors)
    for row in (20, 0, 40):  # row 20 is in the middle cluster; the other two are not used
        chosen = nearest(vectors, codebook.codes)
        codebook = update_codebook(codebook, vectors, chosen, vectors[row].expand(3, -1))
    torch.testing.assert_close(codebook.codes[2], torch.tensor([5.0, 5.0]), rtol=0, atol=0.1)
    assert float(codebook.counts[2]) > DEAD * float(codebook.counts.mean())


def test_a_dead_code_ends_in_the_cluster_without_a_code() -> None:
    vectors = clusters(0, 5, 10)
    codebook = with_dead_code(vectors)
    before = torch.cdist(vectors, codebook.codes).amin(1).max()
    codebook = train_steps(codebook, vectors, 300, revive=True)
    after = torch.cdist(vectors, codebook.codes).amin(1).max()
    assert before > 7
    assert after < 6.9
    assert (codebook.counts > DEAD * codebook.counts.mean()).all()


def test_without_revival_as_in_the_reference_a_dead_code_stays_dead() -> None:
    vectors = clusters(0, 5, 10)
    codebook = train_steps(with_dead_code(vectors), vectors, 300, revive=False)
    assert codebook.codes[2].min() > 50


def test_the_first_batch_sets_every_codebook(learner: LearningTokenizer) -> None:
    before = learner.tokenizer.codebooks.detach().clone()
    assert not learner.begun
    train_step(learner, normal(4, 5, 6))
    assert learner.begun
    assert (learner.counts.sum(1) > 15).all()
    assert ((learner.tokenizer.codebooks - before).abs().amin((1, 2)) > 0).all()


def test_later_batches_move_codebooks_a_little(learner: LearningTokenizer) -> None:
    learner.revive = False
    poses = normal(4, 5, 6)
    train_step(learner, poses)
    before = learner.tokenizer.codebooks.detach().clone()
    train_step(learner, poses)
    moved = (learner.tokenizer.codebooks - before).abs().max()
    assert 0 < moved < 0.2


def test_a_forward_pass_changes_no_codebook(learner: LearningTokenizer) -> None:
    for _ in range(2):
        before = {name: value.clone() for name, value in learner.state_dict().items()}
        learner(normal(4, 5, 6))
        for name, value in learner.state_dict().items():
            assert torch.equal(value, before[name]), name
        train_step(learner, normal(4, 5, 6))  # again after initialisation


def test_the_first_batch_initialises_its_codes(learner: LearningTokenizer) -> None:
    poses = normal(4, 5, 6)
    random = learner(poses)[1].commitment
    learner.initialise(poses, seeded())
    assert learner(poses)[1].commitment < 0.5 * random
    before = learner.tokenizer.codebooks.detach().clone()
    learner.initialise(normal(4, 5, 6, seed=2), seeded())
    assert torch.equal(learner.tokenizer.codebooks, before)


def test_the_trained_codebooks_are_those_of_the_tokenizer(learner: LearningTokenizer) -> None:
    for seed in range(3):
        train_step(learner, normal(4, 5, 6, seed=seed), seed)
    poses = normal(2, 5, 6, seed=9)
    predicted, quantised = learner(poses)
    tokens = learner.tokenizer.encode(poses)
    assert torch.equal(quantised.tokens.view(2, 5, -1), tokens)
    torch.testing.assert_close(predicted, learner.tokenizer.decode(tokens))


def test_the_gradient_passes_the_quantiser_unchanged(
    learner: LearningTokenizer,
) -> None:
    vectors = normal(20, 4).requires_grad_()
    weights = normal(20, 4, seed=2)
    quantised = learner.quantise(vectors)
    (quantised.latent * weights).sum().backward()
    torch.testing.assert_close(vectors.grad, weights)


def test_commitment_is_the_distance_to_the_codes(learner: LearningTokenizer) -> None:
    learner.eval()
    vectors = normal(20, 4)
    quantised = learner.quantise(vectors)
    residual, parts = vectors, []
    for level, codebook in enumerate(learner.tokenizer.codebooks):
        code = codebook[quantised.tokens[:, level]]
        parts.append((residual - code).square().mean())
        residual = residual - code
    torch.testing.assert_close(quantised.commitment, torch.stack(parts).mean())
    torch.testing.assert_close(quantised.latent, vectors - residual)


def test_no_gradient_reaches_a_codebook(learner: LearningTokenizer) -> None:
    predicted, quantised = learner(normal(4, 5, 6))
    (predicted.square().mean() + quantised.commitment).backward()
    assert learner.tokenizer.codebooks.grad is None
    assert learner.tokenizer.encoder_in.weight.grad is not None


def test_perplexity_counts_the_codes_in_use() -> None:
    assert float(perplexity(torch.arange(8), 8)) == pytest.approx(8, rel=1e-4)
    assert float(perplexity(torch.zeros(8).long(), 8)) == pytest.approx(1, rel=1e-4)
    assert float(perplexity(torch.tensor([0, 1]).repeat(10), 8)) == pytest.approx(2, rel=1e-4)
