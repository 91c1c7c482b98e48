"""Recipes: shipped ones, those of users, and errors in them."""

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.motion.denoiser import BODY, FACE, DenoiserConfig
from models.motion.guide import GuideConfig
from models.motion.tokenizer import TokenizerConfig
from training.data.scenes import Scene
from training.loop.schedules import ConstantSchedule, CosineSchedule, StepSchedule
from training.networks.recipes import (
    KINDS,
    LIPS,
    NETWORKS,
    SHIPPED,
    RecipeError,
    Windows,
    read_recipe,
)
from training.networks.trainers import Split, face_training, tokenizer_training

ROOT = Path(__file__).parents[3]
DEMO_NETWORKS = {
    "face": DenoiserConfig(
        channels=256, audio_channels=160, width=128, layers=4, heads=4, hidden=512,
        encoder_layers=2, audio_context=4, longest_rows=600, dropout=0.0,
    ),
    "body": DenoiserConfig(
        channels=104, audio_channels=160, width=96, layers=4, heads=4, hidden=384,
        longest_rows=600, longest_keys=20, tail_hidden=128, dropout=0.0,
    ),
    "tokenizer": TokenizerConfig(width=48, codes=128, depth=2),
    "guide": GuideConfig(
        codes=128, audio_channels=160, audio_blocks=1, width=64, layers=4, heads=4, hidden=256,
        longest_rows=600,
    ),
}  # fmt: skip
RELEASED_NETWORKS = {
    "face": FACE, "body": BODY, "tokenizer": TokenizerConfig(), "guide": GuideConfig()
}  # fmt: skip
RELEASED = {  # schedule, betas, weight decay, clip, seed, weight of the velocity
    "face": (ConstantSchedule(1e-4), (0.9, 0.999), 0.0, None, 10, 0.0),
    "body": (ConstantSchedule(1e-4), (0.9, 0.999), 0.0, None, 10, 2.0),
    "tokenizer": (
        StepSchedule(1e-3, 1000, (300_000,), 0.05, warmup_apart=True),
        (0.9, 0.99), 0.0, None, 123, 0.0,
    ),
    "guide": (
        StepSchedule(2e-4, 5000, (50_000, 400_000), 0.1), (0.9, 0.99), 0.1, 1.0, 10, 0.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_released_recipes_are_the_released_settings(name: str) -> None:
    recipe = read_recipe(name, "released")
    loop = recipe.loop
    assert recipe.network == RELEASED_NETWORKS[name]
    found = loop.schedule, loop.betas, loop.weight_decay, loop.clip, loop.seed, recipe.velocity
    assert found == RELEASED[name]
    shortest = 400 if name in ("face", "body") else 0
    assert recipe.windows == (Windows(600, 4, shortest=shortest),)
    assert (recipe.drop, loop.average, recipe.bfloat16, recipe.aligned) == (0.2, 0.0, False, False)
    assert (recipe.validation_scenes, recipe.test_scenes) == (2, 4)
    assert recipe.tail_dropout == (0.2 if name == "body" else 0.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_demo_recipes_are_the_settings_of_the_demo_person(name: str) -> None:
    recipe = read_recipe(name, "demo")
    loop = recipe.loop
    assert recipe.network == DEMO_NETWORKS[name]
    assert (loop.betas, loop.clip, loop.average, loop.seed) == ((0.9, 0.99), 1.0, 0.998, 10)
    rate, steps, decay = {
        "face": (1.5e-3, 6000, 0.0), "body": (1.5e-3, 6000, 0.0), "tokenizer": (2e-3, 3000, 0.0),
        "guide": (2e-3, 3000, 0.05),
    }[name]  # fmt: skip
    assert loop.schedule == CosineSchedule(rate, warmup=100, final=0.05)
    assert (loop.steps, loop.weight_decay) == (steps, decay)
    both = (Windows(240, 8, 0.75), Windows(600, 3, 0.25))
    assert recipe.windows == {
        "face": both, "body": both, "tokenizer": (Windows(600, 32),),
        "guide": (Windows(240, 24, 0.5), Windows(600, 10, 0.5)),
    }[name]  # fmt: skip
    jitter = (0.0, 0.0) if name == "tokenizer" else (0.12, 0.06)
    assert (recipe.level_jitter, recipe.tone_jitter) == jitter
    assert recipe.velocity == {"face": 1.0, "body": 2.0}.get(name, 0.0)
    assert recipe.aligned == (name in ("face", "body"))
    assert recipe.seen_weights == (name == "tokenizer")
    assert recipe.kept_as == "float16"


def test_every_shipped_recipe_is_installed() -> None:
    found = {path.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob("*.toml")}
    four = {f"{kind}/{name}.toml" for kind in KINDS for name in NETWORKS}
    assert found == four | {f"demo/{LIPS}.toml"}
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    globs = data["package-data"]["training"]
    installed = {path for glob in globs for path in (ROOT / "training").glob(glob)}
    assert installed == set(SHIPPED.rglob("*.toml"))


def test_a_recipe_can_change_parts_of_a_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'base = "demo"\nvelocity = 3\n[network]\nwidth = 64\n[loop]\nsteps = 7\n'
        'schedule = { kind = "constant", rate = 1e-3 }\n'
    )
    mine, shipped = read_recipe("face", path), read_recipe("face", "demo")
    assert mine == replace(
        shipped,
        velocity=3.0,
        network=replace(shipped.network, width=64),
        loop=replace(shipped.loop, steps=7, schedule=ConstantSchedule(1e-3)),
    )
    assert isinstance(mine.velocity, float)


def test_a_part_of_a_schedule_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "demo"\n[loop.schedule]\nrate = 1e-3\n')
    assert read_recipe("face", path).loop.schedule == CosineSchedule(1e-3, warmup=100, final=0.05)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("velocty = 1.0", "velocty is not known; known are network, windows, loop, velocity"),
        ("[loop]\nclipp = 1.0", "loop.clipp is not known; known are steps, minutes"),
        ("velocity = 'fast'", "velocity is 'fast'; it must be a number"),
        ("aligned = 1", "aligned is 1; it must be true or false"),
        ("[network]\nwidth = 12.5", "network.width is 12.5; it must be a whole number"),
        ("[network]\nwidth = true", "network.width is True; it must be a whole number"),
        ("[network]\nwidth = 33", "network: width 33 must be even and divisible by 4 heads"),
        ("network = 3", "network is 3; it must be a table"),
        ("kept_as = 'int8'", "kept_as is 'int8'; it must be 'float16' or 'float32'"),
        ("[loop]\nbetas = [0.9]", "loop.betas is [0.9]; it must be a list of 2"),
        ("[loop]\nbetas = [0.9, 'b']", "loop.betas[1] is 'b'; it must be a number"),
        ("[loop]\nbetas = [0.9, 0.99, 1]", "loop.betas is [0.9, 0.99, 1]; it must be a list of 2"),
        ("[loop]\nclip = 'no'", "loop.clip is 'no'; it must be a number"),
        ("windows = 3", "windows is 3; it must be a list"),
        ("windows = ['a']", "windows[0] is 'a'; it must be a table"),
        ("windows = []", "the recipe: there must be at least one [[windows]]"),
        ("[[windows]]\nframes = 240", "windows[0].batch is missing"),
        (
            "[[windows]]\nframes = 240\nbatch = 1\nshortest = 240",
            "windows[0]: shortest must be less than frames (240), got 240",
        ),
        ("[[windows]]\nframes = 0\nbatch = 1", "windows[0]: frames, batch and share of windows"),
        ("[loop]\nschedule = 3", "loop.schedule is 3; it must be a table"),
        (
            "[loop]\nschedule = { kind = 'steep', rate = 1e-3 }",
            "loop.schedule.kind is 'steep'; it must be 'cosine', 'constant' or 'steps'",
        ),
        (
            "[loop]\nschedule = { kind = 'constant', rate = 1e-3, final = 0.1 }",
            "loop.schedule.final is not known; known are rate",
        ),
        ("[loop]\nsteps = 0", "loop: steps must be at least 1, got 0"),
        ("drop = 1.0", "the recipe: drop must be in [0, 1), got 1.0"),
        ("velocity = -1", "the recipe: velocity must be at least 0, got -1"),
        ("base = 'famous'", "base is 'famous'; it must be 'demo' or 'released'"),
        ("velocity = ", ": invalid TOML: Invalid value"),
    ],
)
def test_an_error_names_file_key_value_and_allowed_values(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(content if content.startswith("base") else f'base = "demo"\n{content}\n')
    with pytest.raises(RecipeError) as caught:
        read_recipe("face", path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_schedule_needs_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text((SHIPPED / "demo" / "face.toml").read_text().replace('kind = "cosine", ', ""))
    with pytest.raises(RecipeError, match=r"loop\.schedule\.kind is None; it must be 'cosine', "):
        read_recipe("face", path)


def test_recipes_are_read_with_the_standard_library_and_torch_alone() -> None:
    """Recipes are read on bare GPU machines."""
    absent = ("cattrs", "msgspec", "pydantic", "yaml")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
        "from training.networks.recipes import read_recipe\n"
        "print(read_recipe('face', 'released').velocity)"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_a_recipe_without_a_base_needs_all_tables(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text("velocity = 1.0\n")
    with pytest.raises(RecipeError, match=r"short\.toml: network is missing"):
        read_recipe("face", path)


def test_a_missing_recipe_is_reported() -> None:
    with pytest.raises(RecipeError, match=r"no recipe at nowhere\.toml .*'demo' or 'released'"):
        read_recipe("face", "nowhere.toml")


def test_released_networks_can_be_trained(tmp_path: Path) -> None:
    """Small networks with the released recipes: several speech rows per frame, not aligned."""
    small = {
        "face": "audio_channels = 16\nwidth = 16\nlayers = 1\nheads = 2\nhidden = 16",
        "tokenizer": "width = 8\ncodes = 8",
    }
    generator = torch.Generator().manual_seed(1)
    for name, make in (("face", face_training), ("tokenizer", tokenizer_training)):
        path = tmp_path / f"{name}.toml"
        path.write_text(
            f'base = "released"\n[network]\n{small[name]}\n[[windows]]\nframes = 120\nbatch = 4\n'
        )
        recipe = read_recipe(name, path)
        channels = recipe.network.channels
        scene = Scene("a", torch.randn(1998, 16), torch.randn(600, channels), torch.ones(600))
        training = make(recipe, Split([scene]))
        batch = training.sample(generator)
        assert len(batch) == 4
        assert torch.isfinite(training.losses(batch)["loss"])
