"""Classifiers that tell spans of motion at borders from spans elsewhere, on held-out clips.

Letters: B spans, F features, S frames of a span.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

FOLDS = 5
BIN = 5  # frames that the logistic regression averages
WIDTH, KERNEL = 12, 5  # of the convolutions
RESAMPLES = 1000  # of clips, for the interval


@dataclass(frozen=True)
class Spans:
    """Spans with their label, and the clip that each comes from."""

    features: Tensor  # [B, F, S]
    border: Tensor  # [B] 1 at a border, 0 elsewhere
    clip: Tensor  # [B] whole numbers

    def of(self, chosen: Tensor) -> Spans:
        """Return some of them; chosen: [B] bool."""
        return Spans(self.features[chosen], self.border[chosen], self.clip[chosen])


@dataclass(frozen=True)
class Auc:
    """Area under the receiver operating characteristic, with its 95 % interval over clips."""

    value: float
    low: float
    high: float


def logistic(features: int, frames: int) -> nn.Module:
    """Return a logistic regression on features averaged over some frames."""
    count = features * (frames // BIN)
    linear = nn.Linear(count, 1)
    nn.init.zeros_(linear.weight)
    return nn.Sequential(nn.AvgPool1d(BIN), nn.Flatten(), linear)


def network(features: int, frames: int) -> nn.Module:
    """Return a small network of convolutions."""
    half = KERNEL // 2
    layers = (
        nn.Conv1d(features, WIDTH, KERNEL, 2, half), nn.GELU(),
        nn.Conv1d(WIDTH, WIDTH, KERNEL, 2, half), nn.GELU(),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(WIDTH * -(-frames // 4), 1),
    )  # fmt: skip
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Kind:
    """A kind of classifier and its training."""

    make: Callable[[int, int], nn.Module]
    epochs: int
    decay: float
    rate: float = 0.003
    batch: int = 128


KINDS: Mapping[str, Kind] = {
    "logistic": Kind(logistic, 40, 0.3),
    "network": Kind(network, 30, 0.1),
}


def held_out_scores(spans: Spans, kind: Kind, seeds: range) -> Tensor:
    """Return the score of each span [B] by classifiers that did not see its clip.

    seeds: of the weights; scores are their mean.
    """
    scores = torch.zeros(len(spans.border))
    folds = spans.clip % FOLDS
    for fold in range(min(FOLDS, int(spans.clip.max()) + 1)):
        held = folds == fold
        for seed in seeds:
            scores[held] += trained(spans.of(~held), kind, seed)(spans.features[held]) / len(seeds)
    return scores


def trained(spans: Spans, kind: Kind, seed: int) -> Callable[[Tensor], Tensor]:
    """Train a classifier; return its score as a function of features [B, F, S]."""
    mean = spans.features.mean((0, 2), keepdim=True)
    spread = spans.features.std((0, 2), keepdim=True).clamp(min=1e-6)
    inputs, labels = (spans.features - mean) / spread, spans.border.float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind.make(*inputs.shape[1:])
        optimizer = torch.optim.AdamW(model.parameters(), lr=kind.rate, weight_decay=kind.decay)
        for _ in range(kind.epochs):
            order = torch.randperm(len(labels))
            for start in range(0, len(labels), kind.batch):
                rows = order[start : start + kind.batch]
                loss = functional.binary_cross_entropy_with_logits(
                    model(inputs[rows])[:, 0], labels[rows]
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    model.eval()

    @torch.no_grad()
    def score(features: Tensor) -> Tensor:
        result: Tensor = model((features - mean) / spread)[:, 0]
        return result

    return score


def auc(scores: NDArray[np.floating], border: NDArray[np.bool_]) -> float:
    """Return the chance that a border scores higher than another place; ties count half."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positive, negative = int(border.sum()), int((~border).sum())
    above = ranks[border].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


def with_interval(scores: Tensor, spans: Spans) -> Auc:
    """Return the AUC of held-out scores with its bootstrap interval over clips."""
    values, border, clip = (x.numpy() for x in (scores, spans.border > 0, spans.clip))
    rows = [np.flatnonzero(clip == each) for each in np.unique(clip)]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
        found.append(auc(values[chosen], border[chosen]))
    low, high = np.quantile(found, (0.025, 0.975))
    return Auc(auc(values, border), float(low), float(high))
