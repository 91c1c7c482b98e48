"""Recipes: how one network is trained, as TOML. Shipped are `demo` and `released`.

A recipe may name another in `base` and say only what differs. What it does not know, or finds of
the wrong type, is an error that names the file, the key, the value and what is allowed.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.motion.denoiser import DenoiserConfig
from models.motion.guide import GuideConfig
from models.motion.tokenizer import TokenizerConfig
from training.loop.loop import LoopConfig  # noqa: TC001 - the types of fields are read
from training.loop.schedules import SCHEDULES, Schedule

Network = DenoiserConfig | GuideConfig | TokenizerConfig
Table = dict[str, Any]

NETWORKS: dict[str, type[Network]] = {
    "face": DenoiserConfig,
    "body": DenoiserConfig,
    "tokenizer": TokenizerConfig,
    "guide": GuideConfig,
}
SHIPPED = Path(__file__).parents[1] / "recipes"
KINDS = ("demo", "released")  # that are shipped, each for all four networks
ALLOWED = "'demo' or 'released'"


class RecipeError(ValueError):
    """A recipe that cannot be read: a sentence with file, key, value and what is allowed."""


@dataclass(frozen=True)
class Windows:
    """One shape of a batch, and how often it is drawn beside the others."""

    frames: int
    batch: int  # of a step: all micro-batches of all processes together
    share: float = 1.0
    shortest: int = 0  # samples of [shortest, frames) frames with zeros behind them; 0: all full

    def __post_init__(self) -> None:
        if self.frames < 1 or self.batch < 1 or self.share <= 0:
            raise ValueError(f"frames, batch and share of windows must be above 0, got {self}")
        if not 0 <= self.shortest < self.frames:
            raise ValueError(
                f"shortest must be less than frames, {self.frames}, got {self.shortest}"
            )


@dataclass(frozen=True)
class Recipe:
    """How one network is trained. The loop's steps or minutes say how long."""

    network: Network
    windows: tuple[Windows, ...]  # each step draws a batch of one of these
    loop: LoopConfig
    velocity: float = 0.0  # weight of the loss of velocities
    drop: float = 0.2  # of samples that do not know their clip, for guidance
    level_jitter: float = 0.0  # spread that is added to the level of each channel, 1 is 20 dB
    tone_jitter: float = 0.0  # and to each band
    aligned: bool = False  # attention starts by looking at its own moment
    seen_weights: bool = False  # the tokenizer's errors count by how much they are seen
    tail_dropout: float = 0.0  # in the body's causal convolutions
    bfloat16: bool = False  # what autocast computes in
    validation_scenes: int = 0  # by name before the test's; validated on and not trained on
    test_scenes: int = 0  # the last by name, which no training sees
    kept_as: Literal["float16", "float32"] = "float32"  # weights in a person directory

    def __post_init__(self) -> None:
        if not self.windows:
            raise ValueError("there must be at least one [[windows]]")
        for name in ("velocity", "level_jitter", "tone_jitter", "validation_scenes", "test_scenes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("drop", "tail_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")


def read_recipe(name: str, source: str | Path) -> Recipe:
    """The recipe of a network: `demo`, `released`, or a TOML file. RecipeError says what is wrong.

    name: face, body, tokenizer or guide.
    """
    path = SHIPPED / str(source) / f"{name}.toml" if str(source) in KINDS else Path(source)
    table = _read(path)
    if (base := table.pop("base", None)) is not None:
        if base not in KINDS:
            raise RecipeError(f"{path}: base is {base!r}; it must be {ALLOWED}")
        table = _merged(_read(SHIPPED / base / f"{name}.toml"), table)
    return _converted(table, path, NETWORKS[name])


def _converted(table: Table, path: Path, network: type[Network]) -> Recipe:
    try:
        from training.networks.conversion import ConversionError, convert
    except ImportError as error:
        raise RecipeError("recipes need cattrs: pip install 'visavis-server[training]'") from error
    try:
        return convert(table, Recipe, tagged={Schedule: SCHEDULES}, chosen={Network: network})
    except ConversionError as error:
        raise RecipeError(f"{path}: {error}") from error


def _read(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"no recipe at {path} ({error.strerror}); give {ALLOWED} or a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is no TOML: {error}") from error


def _merged(below: Table, above: Table) -> Table:
    """The tables of `above` over those of `below`; another kind of schedule takes nothing over."""
    result = dict(below)
    for key, value in above.items():
        old = below.get(key)
        if (
            isinstance(value, dict)
            and isinstance(old, dict)
            and value.get("kind", old.get("kind")) == old.get("kind")
        ):
            value = _merged(old, value)
        result[key] = value
    return result
