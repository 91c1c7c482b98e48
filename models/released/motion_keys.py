"""Names of released motion weights in this project: one table of patterns per network.

A key that matches no pattern is an error. Dropped keys (unused parts of the speech networks, tables
that are computed) have None as their name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

Rules = tuple[tuple[str, str | None], ...]  # pattern of a key -> name here, None if dropped

_ATTENTION = (
    (r"in_proj_weight", "in_weight"),
    (r"in_proj_bias", "in_bias"),
    (r"out_proj\.(?P<leaf>weight|bias)", r"out.\g<leaf>"),
)


def _attention(before: str, after: str) -> Rules:
    return tuple((before + old, after + new) for old, new in _ATTENTION)


_POOLED: Rules = (
    (r"non_attn_cond_projection\.0\.(weight|bias)", r"pooled.norm.\1"),
    (r"non_attn_cond_projection\.1\.(weight|bias)", r"pooled.inner.\1"),
    (r"non_attn_cond_projection\.3\.(weight|bias)", r"pooled.outer.\1"),
)
_LAYER = r"seqTransDecoder\.stack\.(\d+)\."
_LAYERS: Rules = (
    *_attention(_LAYER + r"self_attn\.", r"layers.\1.self_attention."),
    *_attention(_LAYER + r"multihead_attn\.", r"layers.\1.memory_attentions.0."),
    *_attention(_LAYER + r"multihead_attn2\.", r"layers.\1.memory_attentions.1."),
    (_LAYER + r"norm1\.(weight|bias)", r"layers.\1.self_norm.\2"),
    (_LAYER + r"norm2\.(weight|bias)", r"layers.\1.memory_norms.0.\2"),
    (_LAYER + r"norm2a\.(weight|bias)", r"layers.\1.memory_norms.1.\2"),
    (_LAYER + r"norm3\.(weight|bias)", r"layers.\1.ff_norm.\2"),
    (_LAYER + r"linear1\.(weight|bias)", r"layers.\1.ff_in.\2"),
    (_LAYER + r"linear2\.(weight|bias)", r"layers.\1.ff_out.\2"),
    (_LAYER + r"film1\.block\.1\.(weight|bias)", r"layers.\1.self_film.linear.\2"),
    (_LAYER + r"film2\.block\.1\.(weight|bias)", r"layers.\1.memory_films.0.linear.\2"),
    (_LAYER + r"film2a\.block\.1\.(weight|bias)", r"layers.\1.memory_films.1.linear.\2"),
    (_LAYER + r"film3\.block\.1\.(weight|bias)", r"layers.\1.ff_film.linear.\2"),
)
_COMPUTED: Rules = (
    (r"(.*\.)?rotary\.freqs", None),
    (r"audio_resampler\.kernel", None),
    (r"(audio_model|lip_model|transformer|tokenizer)\..*", None),  # separate networks
)
DENOISER: Rules = (
    (r"null_cond_embed", "null_tokens"),
    (r"null_cond_hidden", "null_hidden"),
    (r"null_pose_embed", "null_keys"),
    (r"time_mlp\.1\.(weight|bias)", r"time_in.\1"),
    (r"to_time_cond\.0\.(weight|bias)", r"time_hidden.\1"),
    (r"to_time_tokens\.0\.(weight|bias)", r"time_tokens.\1"),
    (r"norm_cond\.(weight|bias)", r"memory_norm.\1"),
    (r"input_projection\.(weight|bias)", r"motion_in.\1"),
    (r"cond_projection\.(weight|bias)", r"audio_in.\1"),
    (r"final_layer\.(weight|bias)", r"motion_out.\1"),
    (r"frame_cond_projection\.(weight|bias)", r"key_in.\1"),
    (r"frame_norm_cond\.(weight|bias)", r"key_norm.\1"),
    (r"post_pose_layers\.(\d+)\.(weight|bias)", r"tail.\1.\2"),
    (r"final_conv\.(weight|bias)", r"tail_out.\1"),
    *_POOLED,
    *_attention(r"cond_encoder\.(\d+)\.self_attn\.", r"encoder.\1.self_attention."),
    (r"cond_encoder\.(\d+)\.norm1\.(weight|bias)", r"encoder.\1.self_norm.\2"),
    (r"cond_encoder\.(\d+)\.norm2\.(weight|bias)", r"encoder.\1.ff_norm.\2"),
    (r"cond_encoder\.(\d+)\.linear1\.(weight|bias)", r"encoder.\1.ff_in.\2"),
    (r"cond_encoder\.(\d+)\.linear2\.(weight|bias)", r"encoder.\1.ff_out.\2"),
    *_LAYERS,
    *_COMPUTED,
)
GUIDE: Rules = (
    (r"null_cond_embed", "null_tokens"),
    (r"null_cond_hidden", "null_hidden"),
    (r"token_embedding\.weight", "token_in.weight"),
    (r"norm_cond\.(weight|bias)", r"memory_norm.\1"),
    (r"cond_projection\.(weight|bias)", r"audio_in.\1"),
    (r"final_layer\.(weight|bias)", r"logits_out.\1"),
    *_POOLED,
    *_LAYERS,
    *_COMPUTED,
)
TOKENIZER: Rules = (
    (r"encoder\.enc\.0\.(weight|bias)", r"encoder_in.\1"),
    (r"decoder\.dec\.8\.(weight|bias)", r"decoder_out.\1"),
    (r"decoder\.project_mean_shape\.(weight|bias)", None),  # unused
    (r"quantizer\.layers\.\d+\._codebook\.(inited|cluster_size|embed_avg)", None),  # for training
)
_UNUSED_SPEECH: Rules = (
    (r"(vector_quantizer|wav2vec_predictions)\..*", None),
    (r"feature_aggregator\..*", None),
)
_EXTRACTOR: Rules = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.weight", r"stack.convolutions.\1.weight"),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.(weight|bias)", r"stack.norms.\1.\2"),
)
SPEECH: Rules = _EXTRACTOR + _UNUSED_SPEECH
_WAV2VEC = r"audio_encoder\.wav2vec_model\."
_REGRESSION = r"regression_model\.transformer_(encoder|decoder)\.(\d+)\."
LIPS: Rules = (
    *((_WAV2VEC + old, new) for old, new in _EXTRACTOR),
    (_WAV2VEC + r"feature_aggregator\.conv_layers\.(\d+)\.1\.(weight|bias)",
     r"context.convolutions.\1.\2"),
    (_WAV2VEC + r"feature_aggregator\.conv_layers\.(\d+)\.3\.(weight|bias)",
     r"context.norms.\1.\2"),
    (_WAV2VEC + r"wav2vec_predictions\..*", None),
    (r"audio_encoder\.resampler\.kernel", None),
    (r"regression_model\.(cond|target)_positional_encoding\.pe", None),
    *_attention(_REGRESSION + r"self_attn\.self_attn\.", r"\1.\2.self_attention."),
    *_attention(_REGRESSION + r"cross_attn\.cross_attn\.", r"\1.\2.memory_attention."),
    (_REGRESSION + r"norm1\.(weight|bias)", r"\1.\2.self_norm.\3"),
    (r"regression_model\.transformer_encoder\.(\d+)\.norm2\.(weight|bias)",
     r"encoder.\1.ff_norm.\2"),
    (r"regression_model\.transformer_decoder\.(\d+)\.norm2\.(weight|bias)",
     r"decoder.\1.memory_norm.\2"),
    (r"regression_model\.transformer_decoder\.(\d+)\.norm3\.(weight|bias)",
     r"decoder.\1.ff_norm.\2"),
    (_REGRESSION + r"feedforward\.ff\.0\.(weight|bias)", r"\1.\2.ff_in.\3"),
    (_REGRESSION + r"feedforward\.ff\.3\.(weight|bias)", r"\1.\2.ff_out.\3"),
    (r"project_output\.(weight|bias)", r"out.\1"),
)  # fmt: skip
PARALLEL = "module."
AUDIO_PART, LIP_PART = "audio_model.", "lip_model."  # prefixes in a denoiser checkpoint
LAYERS_PER_BLOCK = 6  # convolutions of an audio block, each with three entries of a Sequential


def rename_key(key: str, rules: Rules) -> str | None:
    """Name of a released key here, None if it is dropped.

    Raises: KeyError: when no pattern matches.
    """
    for pattern, name in rules:
        if match := re.fullmatch(pattern, key):
            return match.expand(name) if name is not None else None
    raise KeyError(f"unknown key {key}")


def strip_parallel(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefix that training on several GPUs adds to each key."""
    return {key.removeprefix(PARALLEL): value for key, value in weights.items()}


def convert(weights: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Rename released weights and convert them to float32.

    Raises: KeyError: when a key is unknown.
    """
    result = {}
    for key, value in strip_parallel(weights).items():
        name = rename_key(key, rules)
        if name is not None:
            result[name] = value.float()
    return result


def convert_guide(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a guide; its audio convolutions are numbered by their order in the checkpoint.

    Raises: KeyError: when a key is unknown.
    """
    weights = strip_parallel(weights)
    convolutions = sorted(
        {int(key.split(".")[1]) for key in weights if key.startswith("pre_audio.")}
    )
    last = convolutions[-1]
    rules: Rules = tuple(
        (rf"pre_audio\.{old}\.(weight|bias)", rf"audio.{new}.\1")
        for new, old in enumerate(convolutions[:-1])
    )
    return convert(
        weights, (*rules, (rf"pre_audio\.{last}\.(weight|bias)", r"audio_out.\1"), *GUIDE)
    )


def audio_blocks(keys: Iterable[str]) -> int:
    """Count the audio blocks of a guide from its keys."""
    plain = (key.removeprefix(PARALLEL) for key in keys)
    last = max(int(key.split(".")[1]) for key in plain if key.startswith("pre_audio."))
    return last // (3 * LAYERS_PER_BLOCK)


def convert_tokenizer(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a tokenizer; its codebooks are joined to one tensor [R, N, d].

    Raises: KeyError: when a key is unknown.
    """
    books: dict[int, Tensor] = {}
    rules: list[tuple[str, str | None]] = list(TOKENIZER)
    for layer in range(4):
        rules.append((rf"encoder\.enc\.{2 * layer + 2}\.(weight|bias)", rf"encoder.{layer}.\1"))
        rules.append((rf"decoder\.dec\.{2 * layer}\.(weight|bias)", rf"decoder.{layer}.\1"))
    rest = {}
    for key, value in strip_parallel(weights).items():
        if match := re.fullmatch(r"quantizer\.layers\.(\d+)\._codebook\.embed", key):
            books[int(match[1])] = value.float()
        else:
            rest[key] = value
    codebooks = torch.stack([books[level] for level in sorted(books)])
    return convert(rest, tuple(rules)) | {"codebooks": codebooks}


def subnetwork(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Weights of a network inside another: the keys with `prefix`, which is removed."""
    return {
        key.removeprefix(prefix): value
        for key, value in strip_parallel(weights).items()
        if key.startswith(prefix)
    }
