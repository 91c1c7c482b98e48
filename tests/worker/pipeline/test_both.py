"""Both people of a recording: motion and pictures are those of each person alone, together."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from contracts.outputs import OUTPUTS
from contracts.provenance import Origin, ShownPerson
from jobs.request.model import GenerateRequest
from jobs.request.values import SizeUnsupported
from jobs.settings import Settings
from tests.audio_clips import write_clip
from tests.tiny_person import write_tiny_person
from tests.worker.fakes import FakeAnimator, FakeAvatar, fake_person
from worker.pipeline.media.container import X264
from worker.pipeline.persons import Models, Person, PersonCache, load_models
from worker.pipeline.plan import Cast, TakeFile, cast_of
from worker.pipeline.publish import origin_of, shown_in
from worker.pipeline.recording_outputs import Made, Recording, Resources, make_outputs
from worker.pipeline.render import side_by_side

Make = Callable[..., dict[str, Path]]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make the files of a request by two tiny persons; return them by name."""
    folder = tmp_path_factory.mktemp("both")
    for name in ("ada", "bob"):
        write_tiny_person(folder / "people", name)
    settings = Settings(people=folder / "people", watermark="off", data=folder / "data")
    device = torch.device("cpu")
    persons = PersonCache(
        folder / "people", load=lambda path: load_models(path, device=device, settings=settings)
    )
    resources = Resources(settings, device, X264, persons, None)
    clip = write_clip(folder / "talk.wav", seconds=0.4)

    def made(**fields: object) -> dict[str, Path]:
        target = folder / str(len(list(folder.iterdir())))
        target.mkdir()
        result: Made = make_outputs(
            Recording(clip),
            GenerateRequest.model_validate(fields).seeded(),
            resources,
            path_of=lambda output, take, role: target / output.file_name(take, role),
            progress=lambda stage, share: None,
        )
        return {path.name: path for path in result.files}

    return made


def pictures(path: Path) -> list[np.ndarray]:
    with ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        return [np.array(Image.open(io.BytesIO(archive.read(name)))) for name in names]


def test_each_half_is_the_person_alone_and_so_is_the_motion(make: Make) -> None:
    fields = {"outputs": ["video", "motion"], "format": "png", "takes": 2, "views": ["front"]}
    both = GenerateRequest(seed=3, both=True, person="ada", partner_person="bob")
    names = {"seed": 3, "both": True, "person": "ada", "partner_person": "bob"}

    together = make(**fields, **names)
    apart = [
        make(**fields, seed=each.seed, person=each.person, person_channel=each.person_channel)
        for each in both.performers
    ]

    assert list(together) == [
        "take-1.zip", "motion-1.npz", "motion-1-partner.npz",
        "take-2.zip", "motion-2.npz", "motion-2-partner.npz",
    ]  # fmt: skip
    for take in (1, 2):
        frames = pictures(together[f"take-{take}.zip"])
        halves = [pictures(files[f"take-{take}.zip"]) for files in apart]
        assert len(frames) == len(halves[0]) == 12
        assert np.array_equal(frames, np.concatenate(halves, axis=2))
        for files, role in zip(apart, ("", "-partner"), strict=True):
            own, alone = together[f"motion-{take}{role}.npz"], files[f"motion-{take}.npz"]
            assert own.read_bytes() == alone.read_bytes()
    left, right = (np.load(together[f"motion-1{role}.npz"])["pose"] for role in ("", "-partner"))
    assert not np.array_equal(left, right)


def test_files_of_each_person_have_the_same_sound(make: Make) -> None:
    fields = {"both": True, "layout": "files", "person": "ada", "format": "png", "seed": 3}

    files = make(**fields)
    side = make(**fields | {"layout": "side"})

    assert list(files) == ["take-1.zip", "take-1-partner.zip"]
    halves = [pictures(path) for path in files.values()]
    assert np.array_equal(pictures(side["take-1.zip"]), np.concatenate(halves, axis=2))
    sounds = [ZipFile(path).read("sound.wav") for path in (*files.values(), *side.values())]
    assert len(set(sounds)) == 1


def cast(**fields: object) -> Cast:
    request = GenerateRequest.model_validate({"seed": 1, "both": True} | fields)
    models = Models(FakeAnimator(), FakeAvatar())
    people = {"demo": fake_person(), "bob": replace(fake_person(digest="d2"), name="bob")}
    people["bob"] = Person(**vars(people["bob"]) | {"models": models})
    return cast_of(request, people.__getitem__)


def test_manifests_name_the_persons_that_a_file_shows() -> None:
    two = cast(partner_person="bob")

    origin = origin_of(two.request, shown_in(two))

    demo, bob = origin.people
    assert (demo.name, demo.digest, bob.name, bob.digest) == ("demo", "d1", "bob", "d2")
    assert two.files(OUTPUTS["preview"]) == (TakeFile((0, 1)),)
    alone = [origin.showing(file.places) for file in two.files(OUTPUTS["motion"])]
    assert [each.people for each in alone] == [(demo,), (bob,)]
    assert {each.request for each in alone} == {origin.request}
    assert origin.request != origin_of(cast().request, shown_in(cast())).request


def test_one_picture_of_both_is_not_wider_than_decoders_take() -> None:
    cast(size="2048").check_cameras()
    cast(size="2048", layout="files", views=["front", "side"]).check_cameras()
    with pytest.raises(SizeUnsupported, match="4 views of 2048x2048"):
        cast(size="2048", views=["front", "side"]).check_cameras()


def test_batches_of_different_lengths_are_joined_frame_by_frame() -> None:
    frames = np.arange(7, dtype=np.uint8)[:, None, None, None]
    first, second = np.array_split(frames, 3), np.array_split(frames + 10, 2)

    joined = list(side_by_side([lambda: iter_of(first), lambda: iter_of(second)]))

    assert np.concatenate(joined)[:, 0, :, 0].tolist() == [[n, n + 10] for n in range(7)]


def iter_of(parts: list[np.ndarray]):  # type: ignore[no-untyped-def]
    yield from parts


def test_a_manifest_of_one_person_says_nothing_of_two() -> None:
    origin = Origin("r", "demo", "d")

    assert origin.people == (ShownPerson("demo", "d"),)
    assert origin.showing([0]) == origin
