"""Import of released people: complete person directories or nothing."""

import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.files import sha256_of
from contracts.person import check_files
from models import checkpoint
from models.avatar.camera import read_cameras
from models.avatar.loading import load_avatar
from models.motion.pipeline import LONGEST_SECONDS, Sampling, load_animator
from models.motion.speech import load_speech
from models.motion.statistics import load_statistics
from models.released.person import open_sources, read_released
from models.released.reader import ReleasedError
from tests.models.released.conftest import Import
from tests.released_layout import PERSON

CPU = torch.device("cpu")
FACE = "checkpoints/diffusion/c1_face/model000155000.pt"
BODY = "checkpoints/diffusion/c1_pose/model000155000.pt"
GUIDE = "checkpoints/guide/c1_pose/checkpoints/iter-0100000.pt"
TOKENIZER = "checkpoints/vq/c1_pose/net_iter300000.pth"
AVATAR = f"checkpoints/ca_body/data/{PERSON}"
STATISTICS = f"dataset/{PERSON}/data_stats.pth"
VIEWS = f"assets/render_defaults_{PERSON}.pth"
KINDS = {  # all torch files, with the key of their weights
    FACE: None,
    BODY: None,
    GUIDE: "model_state_dict",
    TOKENIZER: "net",
    STATISTICS: None,
    "assets/vq-wav2vec.pt": "args",
    "assets/wav2vec_large.pt": "args",
    VIEWS: None,
    f"{AVATAR}/static_assets.pt": None,
    f"{AVATAR}/body_dec.ckpt": "model",
}


class Malicious:
    """Object whose unpickling creates a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


def change(path: Path, edit: Callable[[Any], None]) -> None:
    """Edit the content of a torch file."""
    value = torch.load(path, weights_only=False)  # written by the tests
    edit(value)
    torch.save(value, path)


def weights_of(value: dict[str, Any], key: str | None) -> dict[str, Any]:
    return value if key is None else value[key]


def refusal(imported: Import, source: Path, tmp_path: Path) -> str:
    """Error message of a refused import, which must leave no files."""
    with pytest.raises(ReleasedError) as caught:
        imported(source)
    people = tmp_path / "people"
    assert not people.exists() or list(people.iterdir()) == []
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_released_person_animates_a_clip(person: Path) -> None:
    check_files(person)
    animator = load_animator(person, device=CPU)
    audio = 0.1 * torch.randn(48_000, 2, generator=torch.Generator().manual_seed(0))
    (motion,) = animator.animate(audio, Sampling((3,), 2, 10.0, 2.0, 0.97))
    assert animator.max_frames == 600
    assert (motion.face.shape, motion.pose.shape) == ((30, 256), (30, 104))
    assert bool(motion.face.isfinite().all()) and bool(motion.pose.isfinite().all())


def test_the_manifest_contains_licence_defaults_and_sources(whole: Path, person: Path) -> None:
    manifest = json.loads((person / "person.json").read_text())
    assert manifest["name"] == PERSON
    assert manifest["licence"] == "CC BY-NC 4.0"
    assert manifest["avatar"] == {"kind": "codec"}
    assert manifest["limits"] == {"max_seconds": LONGEST_SECONDS}
    assert manifest["defaults"] == {
        "steps": 100, "guidance_face": 10.0, "guidance_body": 2.0, "diversity": 0.97,
        "size": "64x96", "views": ["view-1", "view-2"],
    }  # fmt: skip
    assert sorted(manifest["files"]) == [
        "avatar.safetensors", "body.safetensors", "cameras.json", "face.safetensors",
        "guide.safetensors", "lips.safetensors", "speech.safetensors", "stats.json",
        "tokenizer.safetensors",
    ]  # fmt: skip
    sources = manifest["provenance"]["sources"]
    assert len(sources) == 15
    assert all(sha256_of(whole / name) == digest for name, digest in sources.items())
    assert sources.keys() >= {FACE, BODY, GUIDE, TOKENIZER, STATISTICS, f"{AVATAR}/config.yml"}
    assert sorted(path.name for path in person.parent.iterdir()) == [PERSON]
    assert (person.stat().st_mode & 0o777, (person / "stats.json").stat().st_mode & 0o444) == (
        0o755, 0o444,
    )  # fmt: skip


def test_imported_values_equal_those_in_the_files(whole: Path, person: Path) -> None:
    speech = load_speech(person / "speech.safetensors", device=CPU)
    assert speech.config.log_compression is True  # from the arguments in vq-wav2vec.pt
    values = torch.load(whole / STATISTICS, weights_only=False)
    statistics = load_statistics(person / "stats.json", device=CPU)
    assert statistics.audio_std == float(values["audio_std_flat"][0])
    assert torch.equal(statistics.pose_mean, torch.from_numpy(values["pose_mean"]).float())
    cameras = list(read_cameras(person / "cameras.json").values())
    views = torch.load(whole / VIEWS)
    for camera, inner, outer in zip(cameras, views["K"], views["Rt"], strict=True):
        assert (camera.width, camera.height) == (64, 96)
        assert torch.equal(torch.tensor(camera.intrinsics), inner)
        assert torch.equal(torch.tensor(camera.rotation), outer[:, :3])
        assert torch.equal(torch.tensor(camera.translation), outer[:, 3])


def test_the_avatar_renders_the_released_views(person: Path) -> None:
    avatar = load_avatar(person, device=CPU)

    views = list(avatar.cameras.values())
    (frames,) = avatar.render(torch.zeros(2, 256), torch.zeros(2, 104), views)
    assert frames.shape == (2, 96, 2 * 64, 3)
    assert frames.any()  # the body is visible


def test_networks_inside_checkpoints_take_precedence_over_the_assets(
    source: Path, imported: Import
) -> None:
    """The two differ, because those of the assets are in half precision here."""
    inside = torch.load(source / FACE)["audio_model.feature_extractor.conv_layers.1.0.weight"]
    _, weights = checkpoint.read(imported(source) / "speech.safetensors", device=CPU)
    assert torch.equal(weights["stack.convolutions.1.weight"], inside)


def test_without_networks_inside_checkpoints_the_assets_are_used(
    source: Path, imported: Import
) -> None:
    def strip(state: dict[str, Any]) -> None:
        for key in [key for key in state if key.startswith(("audio_model.", "lip_model."))]:
            del state[key]

    inside = torch.load(source / FACE)["audio_model.feature_extractor.conv_layers.1.0.weight"]
    change(source / FACE, strip)
    change(source / BODY, strip)
    change(source / GUIDE, lambda value: strip(value["model_state_dict"]))

    person = imported(source)

    _, weights = checkpoint.read(person / "speech.safetensors", device=CPU)
    assert torch.equal(weights["stack.convolutions.1.weight"], inside.half().float())
    assert load_animator(person, device=CPU).networks.lips is not None


def test_assets_may_be_absent_if_the_checkpoints_contain_everything(source: Path) -> None:
    for name in ("vq-wav2vec.pt", "wav2vec_large.pt", "iter-0200000.pt"):
        (source / "assets" / name).unlink()
    with open_sources([source], PERSON) as layout:
        person = read_released(layout)
    (notes,) = (each.notes for each in person.parts if each.part == "speech")
    assert "and no log compression" in notes[0]


def test_files_of_other_people_in_the_folder_are_ignored(source: Path, imported: Import) -> None:
    shutil.copytree(source / "dataset" / PERSON, source / "dataset" / "RLW104")
    (source / "dataset" / "RLW104" / "data_stats.pth").write_bytes(b"broken")
    (source / "assets" / "render_defaults_RLW104.pth").write_bytes(b"broken")
    person = imported(source)
    check_files(person)
    assert "RLW104" not in (person / "person.json").read_text()


@pytest.mark.parametrize("where", ["alone", "in a folder"])
def test_downloaded_archives_are_imported(
    source: Path, imported: Import, tmp_path: Path, where: str
) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    with tarfile.open(folder / f"{PERSON}_models.tar", "w") as archive:
        for part in ("diffusion", "guide", "vq"):
            archive.add(source / "checkpoints" / part, f"checkpoints/{part}")
    with tarfile.open(folder / f"{PERSON}.tar.gz", "w:gz") as archive:
        archive.add(source / AVATAR, PERSON)
    with tarfile.open(folder / "asset_models.tar", "w") as archive:
        for name in ("vq-wav2vec.pt", "wav2vec_large.pt", "iter-0200000.pt"):
            archive.add(source / "assets" / name, f"assets/{name}")
    with zipfile.ZipFile(folder / f"{PERSON}.zip", "w") as packed:
        packed.write(source / STATISTICS, f"{PERSON}/data_stats.pth")
        packed.writestr(f"{PERSON}/scene01_audio.wav", b"RIFF")
    shutil.copy(source / VIEWS, folder)
    plain = imported(source)
    files = {path.name: path.read_bytes() for path in plain.iterdir() if path.suffix != ".json"}

    sources = [folder] if where == "in a folder" else [*folder.glob("*.*[rzp]"), folder / "views"]
    if where == "alone":
        (folder / "views").mkdir()
        shutil.move(folder / Path(VIEWS).name, folder / "views")
    again = imported(*sources, overwrite=True)

    assert {name: (again / name).read_bytes() for name in files} == files


def test_an_archive_with_a_path_outside_its_folder_is_refused(
    imported: Import, tmp_path: Path
) -> None:
    path = tmp_path / f"{PERSON}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../people/evil.pt", b"evil")
    assert "a path outside its folder; refused" in refusal(imported, path, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_code_in_a_file_is_not_executed(
    kind: str, source: Path, imported: Import, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"

    def insert(value: dict[str, Any]) -> None:
        value["model" if KINDS[kind] == "args" else "extra"] = Malicious(marker)

    change(source / kind, insert)

    message = refusal(imported, source, tmp_path)

    assert f"{kind}: contains posix.mkdir" in message
    assert not marker.exists()


def test_a_plain_pickle_in_place_of_a_checkpoint_is_not_loaded(
    source: Path, imported: Import, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    for protocol in (0, 2, 4, 5):
        (source / FACE).write_bytes(pickle.dumps(Malicious(marker), protocol=protocol))
        assert f"{FACE}: " in refusal(imported, source, tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "kind", [FACE, STATISTICS, "assets/vq-wav2vec.pt", f"{AVATAR}/static_assets.pt"]
)
def test_the_error_names_a_truncated_file(
    kind: str, source: Path, imported: Import, tmp_path: Path
) -> None:
    content = (source / kind).read_bytes()
    (source / kind).write_bytes(content[: len(content) * 3 // 4])

    message = refusal(imported, source, tmp_path)

    assert kind in message
    assert message.endswith("download it again")


@pytest.mark.parametrize(
    ("kind", "key", "shape", "message"),
    [
        (FACE, "final_layer.weight", [256, 15],
         "final_layer.weight must be [256, 16], found [256, 15]"),
        (BODY, "frame_norm_cond.bias", [3], "frame_norm_cond.bias must be [16], found [3]"),
        (GUIDE, "norm_cond.bias", [3], "norm_cond.bias must be [16], found [3]"),
        (TOKENIZER, "decoder.dec.0.bias", [3], "decoder.dec.0.bias must be [8], found [3]"),
        (STATISTICS, "code_mean", [3], "code_mean must be [256], found [3]"),
        (VIEWS, "Rt", [2, 4, 4], "Rt must be [views, 3, 4], found [2, 4, 4]"),
        (f"{AVATAR}/static_assets.pt", "lbs_template_verts", [5, 3],
         "lbs_template_verts must have V = 4 as in topology.v2uv, found [5, 3]"),
        (f"{AVATAR}/body_dec.ckpt", "encoder.mu.bias", [3],
         "encoder.mu.bias must be [4], found [3]"),
    ],
)  # fmt: skip
def test_the_error_for_a_wrong_shape_gives_file_key_and_the_right_one(
    kind: str, key: str, shape: list[int], message: str,
    source: Path, imported: Import, tmp_path: Path,
) -> None:  # fmt: skip
    tensor: Any = torch.zeros(shape)
    change(
        source / kind,
        lambda value: weights_of(value, KINDS[kind]).__setitem__(
            key, tensor.numpy() if kind == STATISTICS else tensor
        ),
    )
    error = refusal(imported, source, tmp_path)
    assert kind in error
    assert message in error, error


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (FACE, "cond_encoder.1.norm2.weight"),
        (BODY, "final_conv.weight"),
        (GUIDE, "token_embedding.weight"),
        (TOKENIZER, "quantizer.layers.1._codebook.embed"),
        (STATISTICS, "audio_std_flat"),
        (VIEWS, "K"),
        (f"{AVATAR}/static_assets.pt", "seam_data_2048"),
        (f"{AVATAR}/body_dec.ckpt", "decoder_view.unet.out.weight_g"),
    ],
)
def test_the_error_for_a_missing_key_names_file_and_key(
    kind: str, key: str, source: Path, imported: Import, tmp_path: Path
) -> None:
    change(source / kind, lambda value: weights_of(value, KINDS[kind]).pop(key))
    message = refusal(imported, source, tmp_path)
    assert kind in message
    assert f": {key}" in message, message
    assert "is missing" in message, message


@pytest.mark.parametrize(
    "removed", [FACE.rpartition("/")[0], STATISTICS, VIEWS, f"{AVATAR}/config.yml", AVATAR]
)
def test_the_error_for_a_missing_file_gives_its_path(
    removed: str, source: Path, imported: Import, tmp_path: Path
) -> None:
    path = source / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert ": not found in " in refusal(imported, source, tmp_path)


def test_missing_settings_are_reported(source: Path, imported: Import, tmp_path: Path) -> None:
    (source / "checkpoints/diffusion/c1_face/args.json").unlink()
    assert "c1_face/args.json: cannot be read" in refusal(imported, source, tmp_path)


def test_different_speech_models_are_refused(
    source: Path, imported: Import, tmp_path: Path
) -> None:
    key = "audio_model.feature_extractor.conv_layers.1.0.weight"
    change(source / BODY, lambda state: state.__setitem__(key, state[key] + 1))
    message = refusal(imported, source, tmp_path)
    assert f"{BODY}: its speech model differs from that in" in message


def test_networks_that_do_not_match_are_refused(
    source: Path, imported: Import, tmp_path: Path
) -> None:
    def grow(net: dict[str, Any]) -> None:
        for key in [key for key in net if key.endswith(".embed")]:
            net[key] = torch.zeros(9, 8)

    change(source / TOKENIZER, lambda value: grow(value["net"]))
    path = source / "checkpoints/vq/c1_pose/args.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"code_dim": 9}))
    assert "guide: has 8 codes, the tokenizer has 9" in refusal(imported, source, tmp_path)


def test_training_without_dropped_conditions_disables_guidance(
    source: Path, imported: Import
) -> None:
    path = source / "checkpoints/diffusion/c1_face/args.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cond_mask_prob": 0}))
    defaults = json.loads((imported(source) / "person.json").read_text())["defaults"]
    assert (defaults["guidance_face"], defaults["guidance_body"]) == (1.0, 2.0)


def test_an_existing_person_is_replaced_only_with_overwrite(whole: Path, imported: Import) -> None:
    person = imported(whole)
    (person / "note").write_text("mine")
    with pytest.raises(ReleasedError, match=r"PXB184: already exists; .* use --overwrite"):
        imported(whole)
    assert (person / "note").is_file()

    imported(whole, overwrite=True)

    assert not (person / "note").exists()
    assert [path.name for path in person.parent.iterdir()] == [PERSON]


def test_an_existing_person_survives_a_failed_replacement(source: Path, imported: Import) -> None:
    person = imported(source)
    (source / STATISTICS).write_bytes(b"")
    with pytest.raises(ReleasedError):
        imported(source, overwrite=True)
    check_files(person)


def test_a_source_other_than_a_folder_or_archive_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ReleasedError, match=r"nowhere: neither a folder nor a \.zip"),
        open_sources([tmp_path / "nowhere"], PERSON),
    ):
        pass
