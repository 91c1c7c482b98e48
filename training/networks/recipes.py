"""Recipes: settings of the training of one network, as TOML; `demo` and `released` are shipped.

A recipe may name a shipped one in `base` and contain only the differences. An unknown key or an
invalid value is an error with file, key, value and the allowed values.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from contracts.errors import InputError
from models.motion.denoiser import DenoiserConfig
from models.motion.guide import GuideConfig
from models.motion.lips import LipUnitsConfig
from models.motion.tokenizer import TokenizerConfig
from training.loop.loop import LoopConfig  # noqa: TC001 - the types of fields are read
from training.loop.schedules import SCHEDULES, Schedule
from training.networks.conversion import ConversionError, convert

Network = DenoiserConfig | GuideConfig | TokenizerConfig | LipUnitsConfig
Table = dict[str, Any]

NETWORKS: dict[str, type[Network]] = {
    "face": DenoiserConfig,
    "body": DenoiserConfig,
    "tokenizer": TokenizerConfig,
    "guide": GuideConfig,
}
OF_LIPS = ("disturbed", "rooms", "silenced", "formants", "narrow")  # shares in recipes of lips
LIPS = "lips"  # the regressor of face units, which a person may have beside the four
CONFIGS: dict[str, type[Network]] = {**NETWORKS, LIPS: LipUnitsConfig}
SHIPPED = Path(__file__).parents[1] / "recipes"
KINDS = ("demo", "released")  # shipped recipes, each for all four networks; lips only in demo
ALLOWED = "'demo' or 'released'"


class RecipeError(InputError):
    """An invalid recipe: one sentence with file, key, value and the allowed values."""


@dataclass(frozen=True)
class Windows:
    """Shape of a batch, and how often it is sampled relative to the others."""

    frames: int
    batch: int  # global batch size: all micro-batches of all processes together
    share: float = 1.0
    shortest: int = 0  # samples of [shortest, frames) frames, zero-padded; 0 disables padding

    def __post_init__(self) -> None:
        if self.frames < 1 or self.batch < 1 or self.share <= 0:
            raise ValueError(f"frames, batch and share of windows must be above 0, got {self}")
        if not 0 <= self.shortest < self.frames:
            raise ValueError(
                f"shortest must be less than frames ({self.frames}), got {self.shortest}"
            )


@dataclass(frozen=True)
class Recipe:
    """Settings of the training of one network; the loop's steps or minutes limit its length."""

    network: Network
    windows: tuple[Windows, ...]  # each step samples a batch of one of these shapes
    loop: LoopConfig
    velocity: float = 0.0  # weight of the velocity loss
    listening: float = 0.0  # share of timesteps drawn where only the audio knows the motion
    disturbed: float = 0.0  # share of windows with noise, babble or music; lips only
    rooms: float = 0.0  # share of windows with an added room; lips only
    silenced: float = 0.0  # share of windows without the person's voice; lips only
    formants: float = 0.0  # largest change of a voice's frequencies, 0.15 is 15 %; lips only
    narrow: float = 0.0  # share of windows with the band of a telephone; lips only
    drop: float = 0.2  # probability of a dropped condition, for guidance
    level_jitter: float = 0.0  # spread added to the level of each audio channel, 1 is 20 dB
    tone_jitter: float = 0.0  # spread added to each band
    aligned: bool = False  # initialise attention at the same moment of time
    seen_weights: bool = False  # weight the tokenizer's errors by their visibility
    tail_dropout: float = 0.0  # dropout of the body's causal convolutions
    bfloat16: bool = False  # autocast to bfloat16
    validation_scenes: int = 0  # scenes before the test scenes by name, not trained on
    test_scenes: int = 0  # last scenes by name, never used in training
    kept_as: Literal["float16", "float32"] = "float32"  # weights in the person directory

    def __post_init__(self) -> None:
        if not self.windows:
            raise ValueError("there must be at least one [[windows]]")
        for name in ("velocity", "level_jitter", "tone_jitter", "validation_scenes", "test_scenes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("drop", "tail_dropout", "listening", *OF_LIPS):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")


def read_recipe(name: str, source: str | Path) -> Recipe:
    """Read the recipe of a network: `demo`, `released`, a TOML file, or a folder with one for each.

    name: face, body, tokenizer, guide or lips.
    Raises: RecipeError: when the recipe is invalid.
    """
    folder = SHIPPED / str(source) if str(source) in KINDS else Path(source)
    path = folder / f"{name}.toml" if folder.is_dir() else folder
    table = _read(path)
    if (base := table.pop("base", None)) is not None:
        if base not in KINDS:
            raise RecipeError(f"{path}: base is {base!r}; it must be {ALLOWED}")
        table = _merged(_read(SHIPPED / base / f"{name}.toml"), table)
    return _converted(table, path, CONFIGS[name])


def _converted(table: Table, path: Path, network: type[Network]) -> Recipe:
    try:
        return convert(table, Recipe, tagged={Schedule: SCHEDULES}, chosen={Network: network})
    except ConversionError as error:
        raise RecipeError(f"{path}: {error}") from error


def _read(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"no recipe at {path} ({error.strerror}); pass {ALLOWED} or a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: invalid TOML: {error}") from error


def _merged(below: Table, above: Table) -> Table:
    """Merge tables, with `above` taking precedence; a schedule of another kind replaces the old."""
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
