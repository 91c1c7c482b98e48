"""Import of a released person: read and check all parts, then write the person directory.

The directory is created atomically: it is written to a temporary folder and then renamed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from contracts.consent import LICENCE as LICENCE_KIND
from contracts.consent import NON_COMMERCIAL, Consent
from contracts.files import sha256_of
from contracts.person import MANIFEST, write_manifest
from models import checkpoint
from models.avatar.camera import write_cameras
from models.motion.pipeline import load_animator
from models.released import avatar as avatars
from models.released import motion_keys as released
from models.released import networks
from models.released.archives import is_archive, unpack
from models.released.layout import Checkpoint, Layout, is_needed
from models.released.networks import Network
from models.released.reader import (
    OPTIMISER,
    SETTINGS,
    ReleasedError,
    read_json,
    read_torch,
    tensors_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from models.avatar.camera import Camera

LICENCE = "CC BY-NC 4.0"
CONSENT = Consent(
    LICENCE_KIND,
    uses=(NON_COMMERCIAL,),
    given_by="the authors of arXiv 2401.01885",
    licence=LICENCE,
    conditions="attribution, non-commercial use",
)
AUTHORS = "Ng, Romero, Bagautdinov, Bai, Darrell, Kanazawa, Richard: arXiv 2401.01885"
CPU = torch.device("cpu")
ARCHIVES = ("{person}_models.tar", "asset_models.tar", "{person}.tar.gz", "{person}.zip")
DEFAULTS = {"steps": 100, "guidance_face": 10.0, "guidance_body": 2.0, "diversity": 0.97}
NO_GUIDANCE = 1.0  # for denoisers trained without dropping the condition


@dataclass(frozen=True)
class CheckResult:
    """Result of reading and checking one part of a person."""

    part: str
    file: str  # in the person directory
    sources: tuple[Path, ...] = ()
    fault: str | None = None
    notes: tuple[str, ...] = ()
    content: Network | dict[str, Any] | dict[str, Camera] | None = None  # of `file`, if any


@dataclass(frozen=True)
class ReleasedPerson:
    """All parts of a person, without faults."""

    person: str
    folders: tuple[Path, ...]
    parts: tuple[CheckResult, ...]
    defaults: dict[str, Any]


@contextmanager
def open_sources(sources: Sequence[Path], person: str) -> Iterator[Layout]:
    """Find the files of a person in folders and archives, which are unpacked temporarily.

    Raises: ReleasedError: when a source is neither a folder nor a valid archive.
    """
    with tempfile.TemporaryDirectory(prefix="visavis-import-") as scratch:
        folders = []
        for number, source in enumerate(sources):
            if source.is_dir():
                folders.append(source.resolve())
                archives = [] if (source / "checkpoints").is_dir() else _archives(source, person)
            elif is_archive(source):
                archives = [source]
            else:
                raise ReleasedError(f"{source}: neither a folder nor a .zip, .tar or .tar.gz")
            for archive in archives:
                folder = Path(scratch).resolve() / f"{number}-{archive.name}"
                folder.mkdir()
                unpack(archive, folder, select=is_needed)
                folders.append(folder)
        yield Layout(folders, person)


def check_released(layout: Layout) -> list[CheckResult]:
    """Read and check each part; faults are reported in the results."""
    return list(_results(_Files(layout)))


def read_released(layout: Layout) -> ReleasedPerson:
    """Read and check each part.

    Raises: ReleasedError: when a part has a fault.
    """
    files, parts = _Files(layout), []
    for result in _results(files):
        if result.fault:
            raise ReleasedError(result.fault)
        parts.append(result)
    look = {"size": files.image_size(), "views": files.default_views()}
    defaults = DEFAULTS | files.guidance() | look
    return ReleasedPerson(layout.person, tuple(layout.folders), tuple(parts), defaults)


def write_released(
    released_person: ReleasedPerson,
    out: Path,
    *,
    title: str | None = None,
    overwrite: bool = False,
) -> float:
    """Write the person directory `out` and return the longest clip in seconds.

    Raises: ReleasedError: when `out` exists without `overwrite`, or the result cannot be loaded.
    """
    if out.exists() and not overwrite:
        raise ReleasedError(f"{out}: already exists; name another folder or use --overwrite")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for result in released_person.parts:
            _write(draft / result.file, result.content)
        seconds = load_animator(draft, device=CPU).max_seconds  # loaded as in a worker
        if seconds <= 0:
            raise ReleasedError(f"{released_person.person}: the networks do not take any clip")
        files = [path.name for path in draft.iterdir()]
        write_manifest(draft, _manifest(released_person, out.name, title, seconds), files)
        draft.chmod(0o755)
        _replace(draft, out)
    except checkpoint.CheckpointError as error:
        raise ReleasedError(f"the imported person cannot be loaded: {error}") from error
    except SafetensorError as error:
        raise ReleasedError(f"{draft}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return seconds


class _Files:
    """Files of a person, each read on first access and cached."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def parts(self) -> list[tuple[str, str, Callable[[], CheckResult]]]:
        """Triples (part, file, reader), in the order of the report."""
        return [
            ("face", "face.safetensors", self._face),
            ("body", "body.safetensors", self._body),
            ("guide", "guide.safetensors", self._guide),
            ("tokenizer", "tokenizer.safetensors", self._tokenizer),
            ("speech", "speech.safetensors", self._speech),
            ("lips", "lips.safetensors", self._lips),
            ("statistics", "stats.json", self._statistics),
            ("cameras", "cameras.json", self._cameras),
            ("avatar", "avatar.safetensors", self._avatar),
        ]

    def guidance(self) -> dict[str, float]:
        """Defaults for denoisers that do not support guidance."""
        result = {}
        for kind in ("face", "body"):
            settings = read_json(self.layout.diffusion(kind).settings)
            if settings.get("cond_mask_prob") == 0:  # the condition was never dropped in training
                result[f"guidance_{kind}"] = NO_GUIDANCE
        return result

    def image_size(self) -> str:
        """Size of the released views, as WxH."""
        width, height = avatars.image_size(self.avatar.config)
        return f"{width}x{height}"

    def default_views(self) -> list[str]:
        """Names of the first two released views."""
        return list(avatars.cameras_of(self.avatar, self.layout.file("cameras")))[:2]

    @cached_property
    def face(self) -> tuple[dict[str, Tensor], dict[str, Any], Checkpoint]:
        return _read_diffusion(self.layout.diffusion("face"))

    @cached_property
    def body(self) -> tuple[dict[str, Tensor], dict[str, Any], Checkpoint]:
        return _read_diffusion(self.layout.diffusion("body"))

    @cached_property
    def guide(self) -> tuple[dict[str, Tensor], dict[str, Any], Checkpoint]:
        paths = self.layout.guide()
        value = read_torch(paths.weights, inert=OPTIMISER)
        weights = tensors_of(value, paths.weights, key="model_state_dict")
        return weights, read_json(paths.settings), paths

    @cached_property
    def avatar(self) -> avatars.ReleasedAvatar:
        return avatars.read_avatar(
            config=self.layout.file("avatar config"),
            assets=self.layout.file("avatar assets"),
            weights=self.layout.file("avatar weights"),
            views=self.layout.file("cameras"),
        )

    def _face(self) -> CheckResult:
        weights, settings, paths = self.face
        network = networks.denoiser("face", weights, settings, paths.weights)
        return _result(network, paths.weights, paths.settings)

    def _body(self) -> CheckResult:
        weights, settings, paths = self.body
        network = networks.denoiser("body", weights, settings, paths.weights)
        return _result(network, paths.weights, paths.settings)

    def _guide(self) -> CheckResult:
        weights, settings, paths = self.guide
        network = networks.guide(weights, settings, paths.weights)
        return _result(network, paths.weights, paths.settings)

    def _tokenizer(self) -> CheckResult:
        _, settings, _ = self.guide
        named = settings.get("resume_pth")
        paths = self.layout.tokenizer(str(named) if named else None)
        value = read_torch(paths.weights, inert=OPTIMISER)
        weights = tensors_of(value, paths.weights, key="net")
        network = networks.tokenizer(weights, read_json(paths.settings), paths.weights)
        return _result(network, paths.weights, paths.settings)

    def _speech(self) -> CheckResult:
        """Read the speech model in the checkpoints, which must be equal; else its separate file."""
        path = self.layout.optional("speech")
        separate = read_torch(path, inert=SETTINGS) if path else None
        args = networks.conv_args(separate, path) if path else None
        first: tuple[Network, Path] | None = None
        for weights, _, paths in (self.face, self.body, self.guide):
            inside = released.subnetwork(weights, released.AUDIO_PART)
            if not inside:
                continue
            network = networks.speech(inside, args, paths.weights)
            if first is not None and not _equal(first[0].weights, network.weights):
                raise ReleasedError(
                    f"{paths.weights}: its speech model differs from that in {first[1]}; all "
                    "checkpoints of a person must contain the same"
                )
            first = first or (network, paths.weights)
        if first is not None:
            return _result(first[0], first[1], *([path] if path else []))
        if path is None:
            raise ReleasedError(
                "speech model not found, neither in a checkpoint nor in vq-wav2vec.pt; get "
                "asset_models.tar"
            )
        return _result(_separate_speech(self.layout), path)

    def _lips(self) -> CheckResult:
        """Read the lip regressor in the checkpoint of the face, else its separate file."""
        weights, _, paths = self.face
        path = self.layout.optional("lip speech")
        more = [path] if path else []
        if inside := released.subnetwork(weights, released.LIP_PART):
            network = networks.lips(inside, _lip_args(self.layout), paths.weights)
            return _result(network, paths.weights, *more)
        return _result(_separate_lips(self.layout), self.layout.file("lips"), *more)

    def _statistics(self) -> CheckResult:
        path = self.layout.file("statistics")
        return CheckResult("", "", (path,), content=networks.statistics(read_torch(path), path))

    def _cameras(self) -> CheckResult:
        path, config = self.layout.file("cameras"), self.layout.file("avatar config")
        return CheckResult("", "", (path, config), content=avatars.cameras_of(self.avatar, path))

    def _avatar(self) -> CheckResult:
        names = ("avatar config", "avatar assets", "avatar weights", "cameras")
        paths = [self.layout.file(name) for name in names]
        return _result(avatars.network_of(self.avatar, paths[2]), *paths)


def read_front_end(source: Path) -> tuple[Network, Network]:
    """Read the released speech network and lip regressor from a folder or archive of assets.

    Raises: ReleasedError: when a file is missing or damaged.
    """
    with open_sources([source], "") as layout:
        return _separate_speech(layout), _separate_lips(layout)


def _separate_speech(layout: Layout) -> Network:
    """Read the speech model that is in a separate file."""
    path = layout.file("speech")
    value = read_torch(path, inert=SETTINGS)
    weights = tensors_of(value, path, key="model")
    return networks.speech(weights, networks.conv_args(value, path), path)


def _separate_lips(layout: Layout) -> Network:
    """Read the lip regressor that is in a separate file."""
    path = layout.file("lips")
    weights = tensors_of(read_torch(path, inert=SETTINGS), path, key="model_state_dict")
    return networks.lips(weights, _lip_args(layout), path)


def _lip_args(layout: Layout) -> Any:
    """Arguments of the convolutions of the lip regressor; None without their file."""
    path = layout.optional("lip speech")
    return networks.conv_args(read_torch(path, inert=SETTINGS), path) if path else None


def _results(files: _Files) -> Iterator[CheckResult]:
    contents, valid = {}, True
    for part, file, read in files.parts():
        result = _read_part(part, file, read)
        contents[part], valid = result.content, valid and not result.fault
        yield result
    if valid:
        try:
            _check_sizes(contents)
        except ReleasedError as error:
            yield CheckResult("together", MANIFEST, fault=str(error))


def _read_part(part: str, file: str, read: Callable[[], CheckResult]) -> CheckResult:
    try:
        result = read()
    except ReleasedError as error:
        return CheckResult(part, file, fault=str(error))
    return replace(result, part=part, file=file)


def _result(network: Network, *sources: Path) -> CheckResult:
    return CheckResult("", "", sources, notes=network.notes, content=network)


def _read_diffusion(paths: Checkpoint) -> tuple[dict[str, Tensor], dict[str, Any], Checkpoint]:
    weights = tensors_of(read_torch(paths.weights), paths.weights)
    return weights, read_json(paths.settings), paths


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def _check_sizes(contents: dict[str, Any]) -> None:
    """Check that the sizes of the networks match each other."""
    config = {part: each.config for part, each in contents.items() if isinstance(each, Network)}
    speech = 2 * config["speech"]["layers"][-1][0]
    lips = 3 * config["lips"]["vertices"]
    for part, expected in (("face", speech + lips), ("body", speech), ("guide", speech)):
        channels = config[part]["audio_channels"]
        if channels != expected:
            raise ReleasedError(
                f"{part}: takes {channels} audio channels; speech model and lips give {expected}"
            )
    if config["guide"]["codes"] != config["tokenizer"]["codes"]:
        raise ReleasedError(
            f"guide: has {config['guide']['codes']} codes, the tokenizer has "
            f"{config['tokenizer']['codes']}; they were not trained together"
        )
    if config["tokenizer"]["channels"] != config["body"]["channels"]:
        raise ReleasedError(
            f"tokenizer: has {config['tokenizer']['channels']} channels, the body has "
            f"{config['body']['channels']}; they must be equal"
        )


def _archives(folder: Path, person: str) -> list[Path]:
    """Downloaded archives of this person in the folder."""
    paths = (folder / name.format(person=person) for name in ARCHIVES)
    return [path for path in paths if is_archive(path)]


def _write(path: Path, content: Network | dict[str, Any] | dict[str, Camera] | None) -> None:
    if content is None:
        return
    if isinstance(content, Network):
        checkpoint.write(path, content.config, content.weights)
    elif path.name == "cameras.json":
        write_cameras(path, content)
    else:
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _manifest(
    released_person: ReleasedPerson, name: str, title: str | None, seconds: float
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title or f"{released_person.person}, as released",
        "licence": LICENCE,
        "consent": CONSENT.to_json(),
        "avatar": {"kind": "codec"},
        "limits": {"max_seconds": seconds},
        "defaults": released_person.defaults,
        "provenance": {
            "person": released_person.person,
            "authors": AUTHORS,
            "made_by": "visavis-server import-person",
            "sources": _digests(released_person),
        },
    }


def _digests(released_person: ReleasedPerson) -> dict[str, str]:
    """SHA-256 of each file that was read, by its path in its folder."""
    paths = {path for result in released_person.parts for path in result.sources}
    named = {}
    for path in sorted(paths):
        folders = [each for each in released_person.folders if path.is_relative_to(each)]
        folder = folders[0] if folders else path.parent
        named[path.relative_to(folder).as_posix()] = sha256_of(path)
    return named


def _replace(draft: Path, out: Path) -> None:
    """Rename the draft to `out`; a previous directory is removed afterwards."""
    if not out.exists():
        draft.rename(out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        out.rename(aside / out.name)
        try:
            draft.rename(out)
        except OSError:
            (aside / out.name).rename(out)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
