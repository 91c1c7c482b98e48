"""A released person becomes a person directory: every part is read and checked, then all written.

The directory appears at once and whole: it is written beside its place and then renamed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

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
AUTHORS = "Ng, Romero, Bagautdinov, Bai, Darrell, Kanazawa, Richard: arXiv 2401.01885"
CPU = torch.device("cpu")
ARCHIVES = ("{person}_models.tar", "asset_models.tar", "{person}.tar.gz", "{person}.zip")
DEFAULTS = {"steps": 100, "guidance_face": 10.0, "guidance_body": 2.0, "diversity": 0.97}
NO_GUIDANCE = 1.0  # where training never dropped the condition


@dataclass(frozen=True)
class CheckResult:
    """One part of a person: what was found, and what becomes of it."""

    part: str
    file: str  # of the person directory
    sources: tuple[Path, ...] = ()
    fault: str | None = None
    notes: tuple[str, ...] = ()
    content: Network | dict[str, Any] | dict[str, Camera] | None = None  # None: nothing to write


@dataclass(frozen=True)
class Released:
    """Everything that was found for a person, and nothing is wrong with it."""

    person: str
    folders: tuple[Path, ...]
    findings: tuple[CheckResult, ...]
    defaults: dict[str, Any]


@contextmanager
def open_sources(sources: Sequence[Path], person: str) -> Iterator[Layout]:
    """The files of some folders and archives; what is unpacked goes when the block is left.

    Raises ReleasedError.
    """
    with tempfile.TemporaryDirectory(prefix="visavis-import-") as scratch:
        folders = []
        for place, source in enumerate(sources):
            if source.is_dir():
                folders.append(source.resolve())
                archives = [] if (source / "checkpoints").is_dir() else _archives(source, person)
            elif is_archive(source):
                archives = [source]
            else:
                raise ReleasedError(f"{source} is neither a folder nor a .zip, .tar or .tar.gz")
            for archive in archives:
                folder = Path(scratch).resolve() / f"{place}-{archive.name}"
                folder.mkdir()
                unpack(archive, folder, select=is_needed)
                folders.append(folder)
        yield Layout(folders, person)


def check_released(layout: Layout) -> list[CheckResult]:
    """Every part, read and checked; what is wrong with one stands in its finding."""
    return list(_findings(_Files(layout)))


def read_released(layout: Layout) -> Released:
    """Everything. Raises ReleasedError for the first thing that is wrong."""
    files, findings = _Files(layout), []
    for finding in _findings(files):
        if finding.fault:
            raise ReleasedError(finding.fault)
        findings.append(finding)
    shown = {"size": files.picture_size(), "views": files.shown()}
    defaults = DEFAULTS | files.guidance() | shown
    return Released(layout.person, tuple(layout.folders), tuple(findings), defaults)


def write_released(
    found: Released, out: Path, *, title: str | None = None, overwrite: bool = False
) -> float:
    """Write the person directory `out`; answers how many seconds a clip may last.

    ReleasedError where `out` exists and is not to be replaced.
    """
    if out.exists() and not overwrite:
        raise ReleasedError(f"{out} exists; name another folder or say --overwrite")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for finding in found.findings:
            _write(draft / finding.file, finding.content)
        seconds = load_animator(draft, device=CPU).max_seconds  # as a worker will
        if seconds <= 0:
            raise ReleasedError("these networks take no clip of any length")
        files = [path.name for path in draft.iterdir()]
        write_manifest(draft, _facts(found, out.name, title, seconds), files)
        draft.chmod(0o755)
        _replace(draft, out)
    except checkpoint.CheckpointError as error:
        raise ReleasedError(f"what was made of these files cannot be loaded: {error}") from error
    except SafetensorError as error:
        raise ReleasedError(f"{draft} cannot be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return seconds


class _Files:
    """The files of a person, each read once, when it is asked for first."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def parts(self) -> list[tuple[str, str, Callable[[], CheckResult]]]:
        """(part, file, how it is read), in the order in which they are told."""
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
        """Guidance cannot be used where training never dropped the condition."""
        result = {}
        for kind in ("face", "body"):
            settings = read_json(self.layout.diffusion(kind).settings)
            if settings.get("cond_mask_prob") == 0:
                result[f"guidance_{kind}"] = NO_GUIDANCE
        return result

    def picture_size(self) -> str:
        """Of one of the released views."""
        width, height = avatars.picture_size(self.avatar.config)
        return f"{width}x{height}"

    def shown(self) -> list[str]:
        """What a video has where no views are named: the two that were released."""
        return list(avatars.cameras_of(self.avatar, self.layout.file("cameras")))[:2]

    @cached_property
    def face(self) -> tuple[dict[str, Tensor], dict[str, Any], Checkpoint]:
        return _diffusion(self.layout.diffusion("face"))

    @cached_property
    def body(self) -> tuple[dict[str, Tensor], dict[str, Any], Checkpoint]:
        return _diffusion(self.layout.diffusion("body"))

    @cached_property
    def guide(self) -> tuple[dict[str, Tensor], dict[str, Any], Checkpoint]:
        found = self.layout.guide()
        value = read_torch(found.weights, inert=OPTIMISER)
        weights = tensors_of(value, found.weights, key="model_state_dict")
        return weights, read_json(found.settings), found

    @cached_property
    def avatar(self) -> avatars.ReleasedAvatar:
        return avatars.read_avatar(
            config=self.layout.file("avatar config"),
            assets=self.layout.file("avatar assets"),
            weights=self.layout.file("avatar weights"),
            views=self.layout.file("cameras"),
        )

    def _face(self) -> CheckResult:
        weights, settings, found = self.face
        network = networks.denoiser("face", weights, settings, found.weights)
        return _of(network, found.weights, found.settings)

    def _body(self) -> CheckResult:
        weights, settings, found = self.body
        network = networks.denoiser("body", weights, settings, found.weights)
        return _of(network, found.weights, found.settings)

    def _guide(self) -> CheckResult:
        weights, settings, found = self.guide
        return _of(networks.guide(weights, settings, found.weights), found.weights, found.settings)

    def _tokenizer(self) -> CheckResult:
        _, settings, _ = self.guide
        named = settings.get("resume_pth")
        found = self.layout.tokenizer(str(named) if named else None)
        value = read_torch(found.weights, inert=OPTIMISER)
        weights = tensors_of(value, found.weights, key="net")
        network = networks.tokenizer(weights, read_json(found.settings), found.weights)
        return _of(network, found.weights, found.settings)

    def _speech(self) -> CheckResult:
        """The copy inside the checkpoints, which all must share; else the model's own file."""
        path = self.layout.optional("speech")
        checkpoint_of = read_torch(path, inert=SETTINGS) if path else None
        args = networks.conv_args(checkpoint_of, path) if path else None
        made: tuple[Network, Path] | None = None
        for weights, _, found in (self.face, self.body, self.guide):
            inside = released.subnetwork(weights, released.AUDIO_PART)
            if not inside:
                continue
            network = networks.speech(inside, args, found.weights)
            if made is not None and not _same(made[0].weights, network.weights):
                raise ReleasedError(
                    f"{found.weights} holds another speech model than {made[1]}; a person has one"
                )
            made = made or (network, found.weights)
        if made is not None:
            return _of(made[0], made[1], *([path] if path else []))
        if path is None:
            raise ReleasedError(
                f"no checkpoint holds the speech model, and there is no {path or 'vq-wav2vec.pt'}; "
                "get asset_models.tar"
            )
        weights = tensors_of(checkpoint_of, path, key="model")
        return _of(networks.speech(weights, args, path), path)

    def _lips(self) -> CheckResult:
        """The copy inside the face's checkpoint, else the regressor's own file."""
        weights, _, found = self.face
        path = self.layout.optional("lip speech")
        args = networks.conv_args(read_torch(path, inert=SETTINGS), path) if path else None
        used = [path] if path else []
        if inside := released.subnetwork(weights, released.LIP_PART):
            network = networks.lips(inside, args, found.weights)
            return _of(network, found.weights, *used)
        own = self.layout.file("lips")
        weights = tensors_of(read_torch(own, inert=SETTINGS), own, key="model_state_dict")
        return _of(networks.lips(weights, args, own), own, *used)

    def _statistics(self) -> CheckResult:
        path = self.layout.file("statistics")
        return CheckResult("", "", (path,), content=networks.statistics(read_torch(path), path))

    def _cameras(self) -> CheckResult:
        path, config = self.layout.file("cameras"), self.layout.file("avatar config")
        return CheckResult("", "", (path, config), content=avatars.cameras_of(self.avatar, path))

    def _avatar(self) -> CheckResult:
        names = ("avatar config", "avatar assets", "avatar weights", "cameras")
        paths = [self.layout.file(name) for name in names]
        return _of(avatars.network_of(self.avatar, paths[2]), *paths)


def _findings(files: _Files) -> Iterator[CheckResult]:
    contents, right = {}, True
    for part, file, read in files.parts():
        finding = _found(part, file, read)
        contents[part], right = finding.content, right and not finding.fault
        yield finding
    if right:
        try:
            _check_together(contents)
        except ReleasedError as error:
            yield CheckResult("together", MANIFEST, fault=str(error))


def _found(part: str, file: str, read: Callable[[], CheckResult]) -> CheckResult:
    try:
        finding = read()
    except ReleasedError as error:
        return CheckResult(part, file, fault=str(error))
    return CheckResult(part, file, finding.sources, None, finding.notes, finding.content)


def _of(network: Network, *sources: Path) -> CheckResult:
    return CheckResult("", "", sources, notes=network.notes, content=network)


def _diffusion(found: Checkpoint) -> tuple[dict[str, Tensor], dict[str, Any], Checkpoint]:
    weights = tensors_of(read_torch(found.weights), found.weights)
    return weights, read_json(found.settings), found


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def _check_together(contents: dict[str, Any]) -> None:
    """Whether networks that are right by themselves fit each other."""
    config = {part: each.config for part, each in contents.items() if isinstance(each, Network)}
    heard = 2 * config["speech"]["layers"][-1][0]
    lips = 3 * config["lips"]["vertices"]
    for part, wanted_channels in (("face", heard + lips), ("body", heard), ("guide", heard)):
        found = config[part]["audio_channels"]
        if found != wanted_channels:
            raise ReleasedError(
                f"the {part} takes {found} channels of sound; speech model and lips give "
                f"{wanted_channels}"
            )
    if config["guide"]["codes"] != config["tokenizer"]["codes"]:
        raise ReleasedError(
            f"the guide knows {config['guide']['codes']} codes, the tokenizer has "
            f"{config['tokenizer']['codes']}: they were not trained together"
        )
    if config["tokenizer"]["channels"] != config["body"]["channels"]:
        raise ReleasedError(
            f"the tokenizer has {config['tokenizer']['channels']} channels, the body "
            f"{config['body']['channels']}"
        )


def _archives(folder: Path, person: str) -> list[Path]:
    """What is downloaded for this person, as far as it lies in the folder."""
    places = (folder / name.format(person=person) for name in ARCHIVES)
    return [path for path in places if is_archive(path)]


def _write(path: Path, content: Network | dict[str, Any] | dict[str, Camera] | None) -> None:
    if content is None:
        return
    if isinstance(content, Network):
        checkpoint.write(path, content.config, content.weights)
    elif path.name == "cameras.json":
        write_cameras(path, content)
    else:
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _facts(found: Released, name: str, title: str | None, seconds: float) -> dict[str, Any]:
    return {
        "name": name,
        "title": title or f"{found.person}, as released",
        "licence": LICENCE,
        "avatar": {"kind": "codec"},
        "limits": {"max_seconds": seconds},
        "defaults": found.defaults,
        "provenance": {
            "person": found.person,
            "authors": AUTHORS,
            "made_by": "visavis-server import-person",
            "sources": _digests(found),
        },
    }


def _digests(found: Released) -> dict[str, str]:
    """Every file that was read, by its name in its folder, with its sha256."""
    paths = {path for finding in found.findings for path in finding.sources}
    named = {}
    for path in sorted(paths):
        folder = next((each for each in found.folders if path.is_relative_to(each)), path.parent)
        named[path.relative_to(folder).as_posix()] = sha256_of(path)
    return named


def _replace(draft: Path, out: Path) -> None:
    """Put the draft in its place; what was there goes when the new one stands."""
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
