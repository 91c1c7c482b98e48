"""Training of the lip regressor: powers, versions, phones, silenced voices, the command."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Generator

from contracts.errors import InputError
from models.motion.lips import LipUnits, LipUnitsConfig, load_lip_units, write_lip_units
from tests.training.scenes import write_scene
from training.__main__ import main
from training.data import mixing
from training.data.phones import TimedPhone
from training.data.scenes import Scene
from training.demo.finishing import closing_limit, lip_steps
from training.networks.lip_data import (
    NO_PHONE,
    VERSIONS,
    LipData,
    VoicePowers,
    load_lip_data,
    phones_of,
    symbols_of,
)
from training.networks.recipes import Recipe, read_recipe
from training.networks.trainers import LearningLips, lips_training, sample_timesteps, split
from training.person_directory import FeatureMode, person_scenes

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
RECIPE = """
base = "demo"
validation_scenes = 0
silenced = {silenced}
[network]
width = 8
dilations = [1]
[[windows]]
frames = 40
batch = 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short scenes and a person with the avatar and front end of the demo person."""
    folder = tmp_path_factory.mktemp("lips")
    for name in "ab":
        write_scene(folder / "data", name, 90)
    (folder / "ada").mkdir()
    for name in ("avatar.safetensors", "speech.safetensors", "stats.json"):
        shutil.copy(ROOT / "people" / "demo" / name, folder / "ada" / name)
    return folder


@pytest.fixture(autouse=True)
def few_disturbances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "SOUNDS", 4)
    monkeypatch.setattr(mixing, "BABBLES", 4)


def recipe_file(folder: Path, *, silenced: float = 0.05) -> Path:
    path = folder / f"lips-{silenced}.toml"
    path.write_text(RECIPE.format(silenced=silenced))
    return path


def scenes_of(folder: Path) -> list[Scene]:
    return person_scenes(folder / "ada", folder / "data", "face_expression", mode=FeatureMode.NONE)


def recipe_of(folder: Path, *, silenced: float = 0.05) -> Recipe:
    return read_recipe("lips", recipe_file(folder, silenced=silenced))


def test_powers_are_computed_once_with_their_versions(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = load_lip_data(folder / "ada")
    with caplog.at_level(logging.INFO):
        scene, _ = data.with_powers(scenes_of(folder), ())
        first = scene.features.window(10, 40, 40)  # type: ignore[union-attr]
        computed = len(caplog.records)
        again, _ = data.with_powers(scenes_of(folder), ())
    assert len(caplog.records) == computed
    assert torch.equal(first, again.features.window(10, 40, 40))  # type: ignore[union-attr]
    assert first.shape == (600, VERSIONS * 81 + 2)
    plain, *others = first[:80, :-2].unflatten(1, (VERSIONS, 81))[..., :80].unbind(1)
    assert all(not torch.allclose(plain, other, atol=0.01) for other in others)


def test_a_segment_is_turned_so_that_the_window_comes_first(folder: Path) -> None:
    scene, _ = load_lip_data(folder / "ada").with_powers(scenes_of(folder), ())
    source = scene.features
    assert isinstance(source, VoicePowers)
    whole, turned = source.window(0, 90, 90), source.window(30, 40, 40)
    assert torch.equal(turned[:60], whole[30:90])
    assert torch.equal(turned[60:90], whole[:30])


def test_phones_of_frames_are_numbered(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "data", tmp_path / "data")
    (tmp_path / "data" / "a_phones.json").write_text('[["m", 0.1, 0.2], ["a", 0.2, 0.4]]')
    scenes = person_scenes(
        folder / "ada", tmp_path / "data", "face_expression", mode=FeatureMode.NONE
    )
    symbols = symbols_of(scenes)
    assert symbols == ("a", "m")
    assert phones_of(scenes[0], symbols)[:13].tolist() == [-1] * 3 + [1] * 3 + [0] * 6 + [-1]
    assert (phones_of(scenes[1], symbols) == NO_PHONE).all()
    recipe = recipe_of(folder)
    training = lips_training(recipe, split(recipe, scenes), load_lip_data(folder / "ada"))
    training.publish(training.model.state_dict(), tmp_path / "lips.safetensors")
    batches = [training.sample(Generator().manual_seed(seed)) for seed in range(4)]
    assert all(float(training.losses(batch)["phones"].detach()) >= 0 for batch in batches)
    config = load_lip_units(tmp_path / "lips.safetensors", device=CPU).config
    assert isinstance(recipe.network, LipUnitsConfig)
    known = replace(recipe.network, phones=2, bands=40, lowest=60, highest=7600)
    assert config == known


def test_a_silenced_voice_has_lips_at_rest(folder: Path) -> None:
    recipe = recipe_of(folder, silenced=0.5)
    scenes = split(recipe, scenes_of(folder))
    training = lips_training(recipe, scenes, load_lip_data(folder / "ada"))
    generator = Generator().manual_seed(1)
    batches = [training.sample(generator) for _ in range(6)]
    rest = torch.cat([batch["units"].flatten(1).abs().amax(1) == 0 for batch in batches])
    closed = torch.cat([batch["closed"].amin(1) == 1 for batch in batches])
    assert 0.2 < float(rest.float().mean()) < 0.8
    assert closed[rest].all()


def test_the_loss_falls(folder: Path) -> None:
    torch.manual_seed(1)
    recipe = recipe_of(folder)
    training = lips_training(
        recipe, split(recipe, scenes_of(folder)), load_lip_data(folder / "ada")
    )
    batch = training.sample(Generator().manual_seed(1))
    optimiser = torch.optim.Adam(training.model.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = training.losses(batch)["loss"]
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_units_start_near_their_mean(folder: Path) -> None:
    recipe = recipe_of(folder)
    training = lips_training(
        recipe, split(recipe, scenes_of(folder)), load_lip_data(folder / "ada")
    )
    batch = training.sample(Generator().manual_seed(1))
    network = training.model
    assert isinstance(network, LearningLips)
    with torch.no_grad():
        units, _ = network.lips(batch["rows"][:, :40], batch["rows"])
    moving = network.lips.spread < 1  # of the others, nothing is known
    assert moving.sum() > 10
    distance = (units - batch["units"]).square().mean((0, 1)).sqrt() / network.lips.spread
    assert float(distance[moving].max()) < 4


def test_lips_close_on_most_of_p_b_m_where_scenes_have_phones() -> None:
    phones = [[TimedPhone("m", 1.0, 1.1), TimedPhone("a", 0.2, 0.4)]]
    probability = torch.zeros(90)
    probability[31] = 0.5  # a mean of 0.1 over five frames
    limit = closing_limit([probability], phones)
    assert limit is not None
    assert 0.09 < limit < 0.12
    assert closing_limit([probability], [[]]) is None


def test_an_unknown_unit_is_refused_with_those_of_the_avatar(folder: Path) -> None:
    data: LipData = load_lip_data(folder / "ada")
    with pytest.raises(InputError, match=r"no jawOpn; it has .*jawOpen"):
        data.columns(["jawOpn"])


def test_the_command_writes_the_regressor_and_resumes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for steps in (2, 3):
        arguments = [
            "lips", "--data", str(folder / "data"), "--out", str(folder / "ada"), "--work",
            str(folder / "work"), "--config", str(recipe_file(folder)), "--steps", str(steps),
            "--device", "cpu",
        ]  # fmt: skip
        monkeypatch.setattr("sys.argv", ["training", *arguments])
        main()
    network = load_lip_units(folder / "ada" / "lip-units.safetensors", device=CPU)
    assert network.config.width == 8
    text = (folder / "work" / "lips" / "provenance.txt").read_text(encoding="utf-8")
    assert text.startswith("3 steps")


def test_the_step_has_the_units_of_the_regressor(folder: Path, tmp_path: Path) -> None:
    for name in ("avatar.safetensors", "speech.safetensors", "stats.json"):
        shutil.copy(folder / "ada" / name, tmp_path / name)
    config = recipe_of(folder).network
    assert isinstance(config, LipUnitsConfig)
    write_lip_units(tmp_path / "lip-units.safetensors", LipUnits(config))
    step = lip_steps(tmp_path, folder / "data")["lips"]
    assert step["gains"].keys() == step["offsets"].keys() == set(config.units)
    begin, shut = step["closed"]
    assert 0 < begin < shut < 1


def test_listening_draws_late_timesteps_and_none_leaves_the_draw_as_it_was() -> None:
    uniform = torch.randint(1000, (64,), generator=Generator().manual_seed(3))
    assert torch.equal(sample_timesteps(64, 0.0, Generator().manual_seed(3)), uniform)
    late = sample_timesteps(4000, 0.5, Generator().manual_seed(3)) >= 900
    assert float(late.float().mean()) == pytest.approx(0.55, abs=0.03)
