"""Plain implementation of motion sampling, without caches; `python -m bench motion` runs it.

As in the reference, each of the two guidance passes of a step encodes the audio again. Each token
of the guide also encodes it again and runs the whole sequence again. It uses the same layers as
the worker and is not slowed down: both channels are one batch of the speech network, all lip
windows are one batch of the regressor, attention is fused, all in inference mode.

Letters: n samples at 48 kHz, T frames, K key poses, S tokens, L rows of speech, A their width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.motion.guide import nucleus
from models.motion.lips import lip_geometry, lip_rows

if TYPE_CHECKING:
    from models.motion.pipeline import Networks


def face_features(networks: Networks, audio: Tensor) -> Tensor:
    """Return speech and lip features: normalised audio [1, n, 2] -> [1, L, A]."""
    features = networks.speech(audio)
    if networks.lips is None:
        return features
    geometry = lip_geometry(networks.lips, audio)
    return torch.cat([features, lip_rows(geometry, features.shape[1])], dim=-1)


def face_step(networks: Networks, audio: Tensor, x: Tensor, t: int, *, scale: float) -> Tensor:
    """Return the guided prediction for noisy codes [1, T, 256], by two passes in turn."""
    conditional = _face_pass(networks, audio, x, t, keep=True)
    unconditional = _face_pass(networks, audio, x, t, keep=False)
    return unconditional + scale * (conditional - unconditional)


def _face_pass(networks: Networks, audio: Tensor, x: Tensor, t: int, *, keep: bool) -> Tensor:
    network = networks.face
    tokens = network.tokens(face_features(networks, audio))
    mask = torch.full((1,), keep, device=x.device)
    condition = network.condition(tokens, x.shape[1], keep=mask)
    return network(x, torch.full((1,), t, device=x.device), condition)


def body_step(
    networks: Networks,
    audio: Tensor,
    keys: Tensor,  # [1, K, 104], normalised
    x: Tensor,  # [1, T, 104]
    t: int,
    *,
    scale: float,
) -> Tensor:
    """Return the guided prediction for a noisy pose, by two passes in turn."""
    conditional = _body_pass(networks, audio, keys, x, t, keep=True)
    unconditional = _body_pass(networks, audio, keys, x, t, keep=False)
    return unconditional + scale * (conditional - unconditional)


def _body_pass(
    networks: Networks, audio: Tensor, keys: Tensor, x: Tensor, t: int, *, keep: bool
) -> Tensor:
    network = networks.body
    tokens = network.tokens(networks.speech(audio))
    mask = torch.full((1,), keep, device=x.device)
    condition = network.condition(tokens, x.shape[1], keep=mask)
    condition = network.with_keys(condition, network.key_tokens(keys, mask))
    return network(x, torch.full((1,), t, device=x.device), condition)


def next_token(
    networks: Networks,
    audio: Tensor,
    before: Tensor,  # [1, S], begins with the start token
    *,
    top_p: float,
    generator: torch.Generator,
) -> Tensor:
    """Return the next token, [1]."""
    guide = networks.guide
    logits = guide(before, guide.condition(networks.speech(audio)))
    return nucleus(logits[:, -1], top_p).sample([generator])
