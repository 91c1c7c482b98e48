"""Training of the tokenizer's codebooks: k-means initialisation, then moving averages.

Letters: V vectors of width d, N codes of a codebook, R codebooks.
Codebooks are not trained by gradient: each step moves the codes towards the vectors assigned to
them (arXiv 1711.00937, appendix A.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.motion.tokenizer import nearest

if TYPE_CHECKING:
    from torch import Generator

    from models.motion.tokenizer import Tokenizer

DECAY = 0.99
EPSILON = 1e-5
DEAD = 0.2  # fraction of the mean use below which a code is replaced
ITERATIONS = 10


@dataclass
class Codebook:
    """One level of the quantiser in training."""

    codes: Tensor  # [N, d]
    sums: Tensor  # [N, d] moving average of the sum of assigned vectors
    counts: Tensor  # [N] moving average of their number


@dataclass(frozen=True)
class Quantised:
    """Result of quantising a batch of key poses."""

    latent: Tensor  # [V, d] sums of codes, with the gradient of the input
    commitment: Tensor  # []
    tokens: Tensor  # [V, R]


def k_means(vectors: Tensor, means: Tensor, iterations: int = ITERATIONS) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm: vectors [V, d], means [N, d] to start from -> means, counts [N].

    A mean without vectors stays; the counts are of the last assignment, before the last move.
    """
    counts = means.new_zeros(len(means))
    for _ in range(iterations):
        assigned = nearest(vectors, means)
        counts = torch.bincount(assigned, minlength=len(means))
        sums = torch.zeros_like(means).index_add_(0, assigned, vectors)
        moved = sums / counts.clamp(min=1)[:, None]
        means = torch.where((counts > 0)[:, None], moved, means)
    return means, counts


def sample_rows(vectors: Tensor, count: int, generator: Generator) -> Tensor:
    """Sample `count` rows of vectors [V, d], without replacement if possible: [count, d]."""
    if len(vectors) >= count:
        return vectors[torch.randperm(len(vectors), generator=generator)[:count]]
    return vectors[torch.randint(len(vectors), (count,), generator=generator)]


def first_codebook(vectors: Tensor, codes: int, generator: Generator) -> Codebook:
    """Initialise a codebook by k-means of the first batch, vectors [V, d]."""
    means, counts = k_means(vectors, sample_rows(vectors, codes, generator))
    return Codebook(means, means.clone(), counts.to(means.dtype))


def update_codebook(
    codebook: Codebook,
    vectors: Tensor,  # [V, d]
    assigned: Tensor,  # [V]
    replacements: Tensor,  # [N, d] a vector of the batch to replace each code if it is dead
    *,
    revive: bool = True,
) -> Codebook:
    """Update a codebook with a batch.

    revive: replace dead codes. The reference writes the replacement into the table and then
    overwrites it with the old average, so it has no effect there (revive=False).
    """
    count = len(codebook.counts)
    batch_counts = torch.bincount(assigned, minlength=count).to(codebook.counts.dtype)
    batch_sums = torch.zeros_like(codebook.sums).index_add_(0, assigned, vectors)
    counts = DECAY * codebook.counts + (1 - DECAY) * batch_counts
    sums = DECAY * codebook.sums + (1 - DECAY) * batch_sums
    if revive:  # after the averages, so that a revived code is judged by its next assignments
        few = DEAD * counts.mean()
        dead = counts < few
        sums = torch.where(dead[:, None], few * replacements, sums)
        counts = torch.where(dead, few, counts)
    total = counts.sum()
    smoothed = (counts + EPSILON) / (total + len(counts) * EPSILON) * total
    return Codebook(sums / smoothed[:, None], sums, counts)


class LearningTokenizer(nn.Module):
    """Tokenizer with the moving averages that train its codebooks."""

    def __init__(self, tokenizer: Tokenizer, *, revive: bool = True) -> None:
        super().__init__()
        self.tokenizer, self.revive = tokenizer, revive
        books = tokenizer.codebooks
        self.register_buffer("sums", torch.zeros_like(books))
        self.register_buffer("counts", torch.zeros(books.shape[:2]))
        self.register_buffer("begun", torch.zeros(1, dtype=torch.bool))
        self.sums: Tensor
        self.counts: Tensor
        self.begun: Tensor

    def initialise(self, poses: Tensor, generator: Generator) -> None:
        """Initialise the codebooks from the first batch of poses [B, K, C]; then do nothing."""
        if bool(self.begun):
            return
        with torch.no_grad():
            residual = self.tokenizer.latent(poses).flatten(0, 1)
            for level in range(len(self.counts)):
                self._store(level, first_codebook(residual, self.counts.shape[1], generator))
                codes = self.tokenizer.codebooks.data[level]
                residual = residual - codes[nearest(residual, codes)]
        self.begun.fill_(value=True)

    def forward(self, poses: Tensor) -> tuple[Tensor, Quantised]:
        """Normalised poses [B, K, C] -> decoded poses [B, K, C] and their quantisation."""
        latent = self.tokenizer.latent(poses)
        quantised = self.quantise(latent.flatten(0, 1))
        return self.tokenizer.decode_latent(quantised.latent.view_as(latent)), quantised

    def quantise(self, vectors: Tensor) -> Quantised:
        """Vectors [V, d] -> sums of codes."""
        residual, total = vectors, torch.zeros_like(vectors)
        commitments, tokens = [], []
        for codes in self.tokenizer.codebooks.data:
            assigned = nearest(residual.detach(), codes)
            code = codes[assigned]
            commitments.append(functional.mse_loss(residual, code))
            passed = residual + (code - residual).detach()  # straight-through gradient
            total, residual = total + passed, residual - passed
            tokens.append(assigned)
        return Quantised(total, torch.stack(commitments).mean(), torch.stack(tokens, dim=1))

    @torch.no_grad()
    def update_codebooks(self, poses: Tensor, generator: Generator) -> None:
        """Move the codebooks towards a global batch of poses [B, K, C], after its losses."""
        residual = self.tokenizer.latent(poses).flatten(0, 1)
        for level in range(len(self.counts)):
            codes = self.tokenizer.codebooks.data[level]
            assigned = nearest(residual, codes)
            after = residual - codes[assigned]
            self._update_level(level, residual, assigned, generator)
            residual = after

    def _update_level(
        self, level: int, vectors: Tensor, assigned: Tensor, generator: Generator
    ) -> None:
        codes = self.tokenizer.codebooks.data[level]
        old = Codebook(codes, self.sums[level], self.counts[level])
        replacements = sample_rows(vectors, len(codes), generator)
        new = update_codebook(old, vectors, assigned, replacements, revive=self.revive)
        self._store(level, new)

    def _store(self, level: int, codebook: Codebook) -> None:
        self.tokenizer.codebooks.data[level] = codebook.codes
        self.sums[level], self.counts[level] = codebook.sums, codebook.counts


def perplexity(tokens: Tensor, codes: int) -> Tensor:
    """Effective number of codes in use, by the entropy of a batch: tokens [...] -> []."""
    share = torch.bincount(tokens.flatten(), minlength=codes) / tokens.numel()
    return torch.exp(-(share * (share + 1e-7).log()).sum())
