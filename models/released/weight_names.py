"""Names of weights the other way, ours -> released, by the tables of models/motion/released."""

from __future__ import annotations

import re
from functools import lru_cache

from models.motion.guide import AUDIO_DILATIONS
from models.motion.tokenizer import DILATIONS
from models.released import motion_keys as released

GROUP = re.compile(r"\((?:\?P<(?P<name>\w+)>)?(?P<inside>[^()]*)\)")
REFERENCE = re.compile(r"\\(?:g<(\w+)>|(\d))")
APART = 3  # entries of the guide's Sequential from one convolution to the next


def released_key(name: str, rules: released.Rules) -> str:
    """The key that the tables rename to `name`. KeyError if there is none."""
    for pattern, template in _inverted(rules):
        if match := pattern.fullmatch(name):
            return match.expand(template)
    raise KeyError(f"no released key becomes {name}")


def guide_rules(blocks: int) -> released.Rules:
    """The table of a guide, its convolutions over sound by their places among so many blocks."""
    count = blocks * len(AUDIO_DILATIONS)
    convolutions = tuple(
        (rf"pre_audio\.{APART * place}\.(weight|bias)", rf"audio.{place}.\1")
        for place in range(count)
    )
    last = (rf"pre_audio\.{APART * count}\.(weight|bias)", r"audio_out.\1")
    return (*convolutions, last, *released.GUIDE)


def tokenizer_rules() -> released.Rules:
    """The table of a tokenizer; its codebooks stand under the key of the first."""
    places = range(len(DILATIONS))
    return (
        *((rf"encoder\.enc\.{2 * at + 2}\.(weight|bias)", rf"encoder.{at}.\1") for at in places),
        *((rf"decoder\.dec\.{2 * at}\.(weight|bias)", rf"decoder.{at}.\1") for at in places),
        (r"quantizer\.layers\.0\._codebook\.embed", "codebooks"),
        *released.TOKENIZER,
    )


@lru_cache
def _inverted(rules: released.Rules) -> tuple[tuple[re.Pattern[str], str], ...]:
    """(pattern of our name, template of the released key) of every rule that keeps its weights."""
    return tuple(_turned(pattern, template) for pattern, template in rules if template is not None)


def _turned(pattern: str, template: str) -> tuple[re.Pattern[str], str]:
    groups = list(GROUP.finditer(pattern))
    numbers = {group["name"] or str(place): place for place, group in enumerate(groups, 1)}
    name, at = "", 0
    for reference in REFERENCE.finditer(template):
        number = numbers[reference[1] or reference[2]]
        name += re.escape(template[at : reference.start()])
        name += f"(?P<g{number}>{groups[number - 1]['inside']})"
        at = reference.end()
    name += re.escape(template[at:])
    places = iter(range(1, len(groups) + 1))
    key = GROUP.sub(lambda _: rf"\g<g{next(places)}>", pattern)
    return re.compile(name), key.replace(r"\.", ".")
