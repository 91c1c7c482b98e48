"""`visavis-server render-dataset` and `render-results`: videos of existing motion."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cli.console import (
    MISUSED,
    expected_errors,
    fail,
    make_console,
    needing,
    read_settings,
    wait_without_spinning,
    warn,
)
from contracts.avatar_kinds import FAST
from contracts.files import sha256_of
from contracts.provenance import ShownPerson, request_digest
from jobs.request.values import check_watermark
from jobs.sandbox.audio_formats import MediaLimits
from jobs.sandbox.audio_probe import probe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from contracts.provenance import Origin
    from jobs.persons import PersonSummary
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from models.avatar.avatar import Avatar
    from worker.pipeline.dataset_render import Piece, RenderContext
    from worker.pipeline.plan import Plan
    from worker.provenance.manifest import ManifestSigner

SLACK_SECONDS = 1.0  # decoders differ by some samples in the length of a clip
LONGEST_SECONDS = 3600.0  # of a recording
LARGEST_ERROR = 0.01  # rad, above which a warning says what is lost


def run_render_dataset(
    dataset: Path,
    out: Path,
    request: GenerateRequest,
    *,
    scenes: Sequence[str],
    longest: int,
    most: int | None,
    overwrite: bool,
) -> None:
    """Render the recorded motion of a dataset, in pieces of `longest` frames."""
    wait_without_spinning()
    with needing("worker"):
        from worker.pipeline.dataset_render import scene_pieces

    _render(
        lambda avatar, scratch: scene_pieces(dataset, scenes=scenes, longest=longest, most=most),
        out,
        request,
        {"dataset": str(dataset.resolve()), "max_seq_length": longest},
        overwrite=overwrite,
    )


def run_render_results(
    results: Path,
    face: Path | None,
    out: Path,
    request: GenerateRequest,
    *,
    audio: Path | None = None,
    truth: bool,
    overwrite: bool,
) -> None:
    """Render samples of `python -m training sample`, or with `truth` the recorded motion.

    results: also motion of one take, as npz or bvh; then `face` may be a csv, and `audio` is the
    recording.
    """
    wait_without_spinning()
    with needing("worker"):
        from models.animation.edited import is_edited
        from models.formats.results import read_results
        from worker.pipeline.dataset_render import result_pieces

    edited = is_edited(results, face)
    if edited and truth:
        fail("--truth: motion of one take has no recorded motion; leave it out", MISUSED)
    if not edited and audio is not None:
        fail("--audio: results contain their audio; leave it out", MISUSED)

    def pieces(avatar: Callable[[], Avatar], scratch: Path) -> list[Piece]:
        if edited:
            return [_edited_piece(results, face, audio, avatar(), scratch)]
        faces = None if face is None else read_results(face)
        return result_pieces(read_results(results), faces, truth=truth)

    files = [path for path in (results, face, audio) if path is not None and path.is_file()]
    facts = {"results": [sha256_of(path) for path in files]}
    _render(pieces, out, request, facts, overwrite=overwrite)


def _edited_piece(
    motion: Path, face: Path | None, audio: Path | None, avatar: Avatar, scratch: Path
) -> Piece:
    """Read motion that was written by `export`, and perhaps edited."""
    import torch

    from models.animation.edited import read_edited
    from models.motion.pipeline import Motion
    from worker.pipeline.dataset_render import motion_piece
    from worker.pipeline.media.decode import decode

    describe = getattr(avatar, "figure", None)
    if describe is None:
        fail("--person: this kind of avatar has no skeleton; choose another person", MISUSED)
    edited = read_edited(describe("the person"), motion, face)
    if edited.error > LARGEST_ERROR:
        warn(
            f"{motion}: joints turn in ways that the person's parameters do not have; the largest "
            f"difference is {math.degrees(edited.error):.1f} degrees"
        )
    sound = None
    if audio is not None:
        if not audio.is_file():
            fail(f"--audio: no recording at {audio}; check the path", MISUSED)
        seconds = len(edited.pose) / 30 + SLACK_SECONDS
        limits = MediaLimits(max_seconds=max(seconds, LONGEST_SECONDS))
        info = probe(audio, limits=limits)
        sound = decode(
            audio,
            scratch / "recording.f32",
            max_seconds=info.seconds + SLACK_SECONDS,
            progress=lambda share: None,
            partner=None,
            person_channel="left",
        ).samples
    pose, codes = torch.from_numpy(edited.pose), torch.from_numpy(edited.face)
    return motion_piece(motion.stem, Motion(codes, pose), sound, str(motion))


def _render(
    pieces_of: Callable[[Callable[[], Avatar], Path], list[Piece]],
    out: Path,
    request: GenerateRequest,
    facts: dict[str, Any],
    *,
    overwrite: bool,
) -> None:
    from worker.pipeline.dataset_render import open_folder
    from worker.pipeline.media.watermark import watermark_of
    from worker.pipeline.persons import find_person
    from worker.pipeline.plan import plan_of
    from worker.pipeline.publish import origin_of
    from worker.provenance.manifest import open_signer

    settings = read_settings()
    with expected_errors("stopped; repeat the command to continue"):
        person = find_person(settings.people, request.person)
        person.check_use(request.use, settings.use)
        person.check_shading(request.shading)
        check_watermark(wanted=request.watermark, setting=settings.watermark)
        signer = open_signer(settings)
        plan = plan_of(request, person.defaults)
        with tempfile.TemporaryDirectory(prefix="visavis-") as scratch:
            avatar = cache(lambda: _avatar(person, settings))
            pieces = pieces_of(avatar, Path(scratch))
            facts = facts | _facts(person, plan)
            origin = replace(
                origin_of(request, [ShownPerson(person.name, person.digest, person.consent)]),
                request=request_digest(facts, person.digest),  # there is no seed
            )
            context = replace(
                _context(avatar(), plan, settings, Path(scratch), origin, signer),
                watermark=watermark_of(settings, request, origin),
            )
            remaining = open_folder(out, pieces, plan, facts, overwrite=overwrite)
            _render_all(pieces, remaining, out, context)


def _avatar(person: PersonSummary, settings: Settings) -> Avatar:
    from contracts.person import check_files
    from models.avatar.loading import load_avatar
    from worker.pipeline.device import start

    device, folder = start(settings), settings.people / person.name
    check_files(folder)
    return load_avatar(folder, device=device, settings=settings.avatar_settings)


def _context(
    avatar: Avatar,
    plan: Plan,
    settings: Settings,
    scratch: Path,
    origin: Origin,
    signer: ManifestSigner | None,
) -> RenderContext:
    from worker.pipeline.dataset_render import RenderContext
    from worker.pipeline.device import choose_device
    from worker.pipeline.media.encode import choose_encoder
    from worker.pipeline.plan import cameras_of

    device = choose_device(settings.device)
    cameras_of(plan, avatar)  # an unknown view fails before anything is rendered
    return RenderContext(plan, avatar, choose_encoder(device.type), scratch, origin, signer)


def _facts(person: PersonSummary, plan: Plan) -> dict[str, Any]:
    """Return the facts that the look of a video depends on, as JSON values."""
    look = asdict(plan.options)
    extra = look.pop("extra")
    if look["shading"] == FAST:  # folders of earlier releases have no such fact
        del look["shading"]
    if isinstance(look["background"], tuple):
        look["background"] = list(look["background"])
    return {
        "person": person.name,
        "version of the person": person.digest,
        "size": f"{plan.width}x{plan.height}",
        "views": list(plan.views),
        "format": plan.outputs[0].name,
        "look": look | dict(extra),
    }


def _render_all(
    pieces: list[Piece], remaining: list[Piece], out: Path, context: RenderContext
) -> None:
    from worker.pipeline.dataset_render import render_piece, video_path

    console = make_console()
    if len(remaining) < len(pieces):
        console.print(f"{len(pieces) - len(remaining)} of {len(pieces)} exist already")
    total = sum(piece.frames for piece in remaining)
    with _bar(console) as bar:
        task = bar.add_task("", total=total)
        done = 0
        for number, piece in enumerate(remaining, 1):
            start, path = time.monotonic(), video_path(out, piece, context.plan)
            bar.update(task, description=f"{path.name} ({number} of {len(remaining)})")

            def report(part: float, piece: Piece = piece, done: int = done) -> None:
                bar.update(task, completed=done + part * piece.frames)

            render_piece(piece, path, context, report)
            done += piece.frames
            seconds = time.monotonic() - start
            line = f"{path}  {piece.frames} frames, {seconds:.1f} s ({number} of {len(remaining)})"
            console.print(line, soft_wrap=True)


def _bar(console: Console) -> Progress:
    """Return a progress bar for terminals; without a terminal only finished videos are printed."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
