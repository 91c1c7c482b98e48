"""Inverse renaming, from names here to released keys, by the tables of `motion_keys`."""

from __future__ import annotations

import re
from functools import lru_cache

from models.motion.guide import AUDIO_DILATIONS
from models.motion.tokenizer import DILATIONS
from models.released import motion_keys as released

GROUP = re.compile(r"\((?:\?P<(?P<name>\w+)>)?(?P<inside>[^()]*)\)")
REFERENCE = re.compile(r"\\(?:g<(\w+)>|(\d))")
STRIDE = 3  # entries of the Sequential of a guide per convolution


def released_key(name: str, rules: released.Rules) -> str:
    """Released key of a weight.

    Raises: KeyError: when no rule gives this name.
    """
    for pattern, template in _inverted(rules):
        if match := pattern.fullmatch(name):
            return match.expand(template)
    raise KeyError(f"no released key for {name}")


def guide_rules(blocks: int) -> released.Rules:
    """Rules of a guide with this number of audio blocks."""
    count = blocks * len(AUDIO_DILATIONS)
    convolutions = tuple(
        (rf"pre_audio\.{STRIDE * layer}\.(weight|bias)", rf"audio.{layer}.\1")
        for layer in range(count)
    )
    last = (rf"pre_audio\.{STRIDE * count}\.(weight|bias)", r"audio_out.\1")
    return (*convolutions, last, *released.GUIDE)


def tokenizer_rules() -> released.Rules:
    """Rules of a tokenizer; the joined codebooks have the key of the first."""
    layers = range(len(DILATIONS))
    return (
        *((rf"encoder\.enc\.{2 * at + 2}\.(weight|bias)", rf"encoder.{at}.\1") for at in layers),
        *((rf"decoder\.dec\.{2 * at}\.(weight|bias)", rf"decoder.{at}.\1") for at in layers),
        (r"quantizer\.layers\.0\._codebook\.embed", "codebooks"),
        *released.TOKENIZER,
    )


@lru_cache
def _inverted(rules: released.Rules) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Pairs (pattern of the name here, template of the released key), without dropped keys."""
    return tuple(_inverse(pattern, template) for pattern, template in rules if template is not None)


def _inverse(pattern: str, template: str) -> tuple[re.Pattern[str], str]:
    groups = list(GROUP.finditer(pattern))
    numbers = {group["name"] or str(number): number for number, group in enumerate(groups, 1)}
    name, end = "", 0
    for reference in REFERENCE.finditer(template):
        number = numbers[reference[1] or reference[2]]
        name += re.escape(template[end : reference.start()])
        name += f"(?P<g{number}>{groups[number - 1]['inside']})"
        end = reference.end()
    name += re.escape(template[end:])
    order = iter(range(1, len(groups) + 1))
    key = GROUP.sub(lambda _: rf"\g<g{next(order)}>", pattern)
    return re.compile(name), key.replace(r"\.", ".")
