"""How the tokenizer's codebooks learn: k-means at the start, moving averages after it.

Letters: V vectors of width d, N codes of a codebook, R codebooks.
No gradient reaches a codebook: each step moves its codes towards the vectors that chose them
(arXiv 1711.00937, appendix A.1).
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
DEAD = 0.2  # a code that is chosen less often than this share of the mean is replaced
ITERATIONS = 10


@dataclass
class Codebook:
    """One level of the quantiser while it learns."""

    codes: Tensor  # [N, d]
    sums: Tensor  # [N, d] moving average of the sum of the vectors that chose a code
    counts: Tensor  # [N] and of their number


@dataclass(frozen=True)
class Quantised:
    """What a batch of key poses became."""

    latent: Tensor  # [V, d] sums of codes, with the gradient of what went in
    commitment: Tensor  # []
    tokens: Tensor  # [V, R]


def k_means(vectors: Tensor, means: Tensor, iterations: int = ITERATIONS) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm: vectors [V, d], means [N, d] to start from -> means, counts [N].

    A mean that nobody chooses stays; the counts are of the last choice, before the last move.
    """
    counts = means.new_zeros(len(means))
    for _ in range(iterations):
        chosen = nearest(vectors, means)
        counts = torch.bincount(chosen, minlength=len(means))
        sums = torch.zeros_like(means).index_add_(0, chosen, vectors)
        moved = sums / counts.clamp(min=1)[:, None]
        means = torch.where((counts > 0)[:, None], moved, means)
    return means, counts


def drawn_rows(vectors: Tensor, count: int, generator: Generator) -> Tensor:
    """`count` rows of vectors [V, d], without repeats where there are enough: [count, d]."""
    if len(vectors) >= count:
        return vectors[torch.randperm(len(vectors), generator=generator)[:count]]
    return vectors[torch.randint(len(vectors), (count,), generator=generator)]


def first_codebook(vectors: Tensor, codes: int, generator: Generator) -> Codebook:
    """A codebook from the first batch, vectors [V, d]."""
    means, counts = k_means(vectors, drawn_rows(vectors, codes, generator))
    return Codebook(means, means.clone(), counts.to(means.dtype))


def updated(
    book: Codebook,
    vectors: Tensor,  # [V, d]
    chosen: Tensor,  # [V]
    replacements: Tensor,  # [N, d] a vector of the batch for each code, should it be dead
    *,
    revive: bool = True,
) -> Codebook:
    """The codebook after a batch.

    revive: a dead code becomes its replacement. The reference writes the replacement into the table
    and then the old average over it, so there it has no effect (revive=False).
    """
    batch_counts = torch.bincount(chosen, minlength=len(book.counts)).to(book.counts.dtype)
    batch_sums = torch.zeros_like(book.sums).index_add_(0, chosen, vectors)
    counts = DECAY * book.counts + (1 - DECAY) * batch_counts
    sums = DECAY * book.sums + (1 - DECAY) * batch_sums
    if revive:  # last, so that a code is next judged by who chooses it in its new place
        few = DEAD * counts.mean()
        dead = counts < few
        sums = torch.where(dead[:, None], few * replacements, sums)
        counts = torch.where(dead, few, counts)
    total = counts.sum()
    smoothed = (counts + EPSILON) / (total + len(counts) * EPSILON) * total
    return Codebook(sums / smoothed[:, None], sums, counts)


class LearningTokenizer(nn.Module):
    """A tokenizer with what its codebooks need while they learn."""

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

    def begin(self, poses: Tensor, generator: Generator) -> None:
        """Codebooks from the first batch of poses [B, K, C]; nothing once they have begun."""
        if bool(self.begun):
            return
        with torch.no_grad():
            left = self.tokenizer.latent(poses).flatten(0, 1)
            for level in range(len(self.counts)):
                self._keep(level, first_codebook(left, self.counts.shape[1], generator))
                codes = self.tokenizer.codebooks.data[level]
                left = left - codes[nearest(left, codes)]
        self.begun.fill_(value=True)

    def forward(self, poses: Tensor) -> tuple[Tensor, Quantised]:
        """Normalised poses [B, K, C] -> poses again, and what they were quantised to."""
        latent = self.tokenizer.latent(poses)
        quantised = self.quantise(latent.flatten(0, 1))
        return self.tokenizer.decode_latent(quantised.latent.view_as(latent)), quantised

    def quantise(self, vectors: Tensor) -> Quantised:
        """Vectors [V, d] -> sums of codes."""
        left, total = vectors, torch.zeros_like(vectors)
        commitments, tokens = [], []
        for codes in self.tokenizer.codebooks.data:
            chosen = nearest(left.detach(), codes)
            code = codes[chosen]
            commitments.append(functional.mse_loss(left, code))
            passed = left + (code - left).detach()  # the code, with the gradient of what went in
            total, left = total + passed, left - passed
            tokens.append(chosen)
        return Quantised(total, torch.stack(commitments).mean(), torch.stack(tokens, dim=1))

    @torch.no_grad()
    def learn(self, poses: Tensor, generator: Generator) -> None:
        """Codebooks move towards a whole batch of poses [B, K, C], after its losses."""
        left = self.tokenizer.latent(poses).flatten(0, 1)
        for level in range(len(self.counts)):
            codes = self.tokenizer.codebooks.data[level]
            chosen = nearest(left, codes)
            after = left - codes[chosen]
            self._learn(level, left, chosen, generator)
            left = after

    def _learn(self, level: int, vectors: Tensor, chosen: Tensor, generator: Generator) -> None:
        book = Codebook(self.tokenizer.codebooks.data[level], self.sums[level], self.counts[level])
        replacements = drawn_rows(vectors, len(book.counts), generator)
        self._keep(level, updated(book, vectors, chosen, replacements, revive=self.revive))

    def _keep(self, level: int, book: Codebook) -> None:
        self.tokenizer.codebooks.data[level] = book.codes
        self.sums[level], self.counts[level] = book.sums, book.counts


def perplexity(tokens: Tensor, codes: int) -> Tensor:
    """How many codes are in use, by the entropy of a batch: tokens [...] -> []."""
    share = torch.bincount(tokens.flatten(), minlength=codes) / tokens.numel()
    return torch.exp(-(share * (share + 1e-7).log()).sum())
