"""The plain order of work, which `python -m bench motion` compares with: nothing is kept.

As in the reference, each of the two guidance passes of every step encodes the sound again, and so
does every token of the guide, which also runs its whole sequence again. The layers are ours and
nothing is slowed down: both channels are one batch of the speech network, the lips of all pieces
one batch of theirs, attention is fused, all in inference mode.

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


def heard_by_face(networks: Networks, sound: Tensor) -> Tensor:
    """Normalised sound [1, n, 2] -> features with lips behind them, [1, L, A]."""
    features = networks.speech(sound)
    if networks.lips is None:
        return features
    geometry = lip_geometry(networks.lips, sound)
    return torch.cat([features, lip_rows(geometry, features.shape[1])], dim=-1)


def face_step(networks: Networks, sound: Tensor, x: Tensor, t: int, *, scale: float) -> Tensor:
    """The guided answer to noisy codes [1, T, 256]: two passes, one after the other."""
    known = _face_pass(networks, sound, x, t, keep=True)
    unknown = _face_pass(networks, sound, x, t, keep=False)
    return unknown + scale * (known - unknown)


def _face_pass(networks: Networks, sound: Tensor, x: Tensor, t: int, *, keep: bool) -> Tensor:
    network = networks.face
    tokens = network.tokens(heard_by_face(networks, sound))
    kept = torch.full((1,), keep, device=x.device)
    condition = network.condition(tokens, x.shape[1], keep=kept)
    return network(x, torch.full((1,), t, device=x.device), condition)


def body_step(
    networks: Networks,
    sound: Tensor,
    keys: Tensor,  # [1, K, 104], normalised
    x: Tensor,  # [1, T, 104]
    t: int,
    *,
    scale: float,
) -> Tensor:
    """The guided answer to a noisy pose: two passes, one after the other."""
    known = _body_pass(networks, sound, keys, x, t, keep=True)
    unknown = _body_pass(networks, sound, keys, x, t, keep=False)
    return unknown + scale * (known - unknown)


def _body_pass(
    networks: Networks, sound: Tensor, keys: Tensor, x: Tensor, t: int, *, keep: bool
) -> Tensor:
    network = networks.body
    tokens = network.tokens(networks.speech(sound))
    kept = torch.full((1,), keep, device=x.device)
    condition = network.condition(tokens, x.shape[1], keep=kept)
    condition = network.with_keys(condition, network.key_tokens(keys, kept))
    return network(x, torch.full((1,), t, device=x.device), condition)


def next_token(
    networks: Networks,
    sound: Tensor,
    before: Tensor,  # [1, S], the first the start
    *,
    top_p: float,
    generator: torch.Generator,
) -> Tensor:
    """The token that follows, [1]."""
    guide = networks.guide
    logits = guide(before, guide.condition(networks.speech(sound)))
    return nucleus(logits[:, -1], top_p).sample([generator])
