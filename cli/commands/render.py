"""`visavis-server render-dataset` and `render-results`: videos of existing motion."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cli.console import (
    expected_errors,
    make_console,
    needing,
    read_settings,
    wait_without_spinning,
)
from contracts.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from jobs.persons import PersonSummary
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from worker.pipeline.dataset_render import Piece, RenderContext
    from worker.pipeline.plan import Plan


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
        lambda: scene_pieces(dataset, scenes=scenes, longest=longest, most=most),
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
    truth: bool,
    overwrite: bool,
) -> None:
    """Render samples of `python -m training sample`, or with `truth` the recorded motion."""
    wait_without_spinning()
    with needing("worker"):
        from models.formats.results import read_results
        from worker.pipeline.dataset_render import result_pieces

    def pieces() -> list[Piece]:
        faces = None if face is None else read_results(face)
        return result_pieces(read_results(results), faces, truth=truth)

    files = [path for path in (results, face) if path is not None and path.is_file()]
    facts = {"results": [sha256_of(path) for path in files]}
    _render(pieces, out, request, facts, overwrite=overwrite)


def _render(
    pieces_of: Callable[[], list[Piece]],
    out: Path,
    request: GenerateRequest,
    facts: dict[str, Any],
    *,
    overwrite: bool,
) -> None:
    from worker.pipeline.dataset_render import open_folder
    from worker.pipeline.persons import find_person
    from worker.pipeline.plan import plan_of

    settings = read_settings()
    with expected_errors("stopped; repeat the command to continue"):
        person = find_person(settings.people, request.person)
        plan = plan_of(request, person.defaults)
        pieces = pieces_of()
        with tempfile.TemporaryDirectory(prefix="visavis-") as scratch:
            context = _context(person, plan, settings, Path(scratch))
            facts = facts | _facts(person, plan)
            remaining = open_folder(out, pieces, plan, facts, overwrite=overwrite)
            _render_all(pieces, remaining, out, context)


def _context(person: PersonSummary, plan: Plan, settings: Settings, scratch: Path) -> RenderContext:
    from contracts.person import check_files
    from models.avatar.loading import load_avatar
    from worker.pipeline.dataset_render import RenderContext
    from worker.pipeline.device import start
    from worker.pipeline.encode import choose_encoder
    from worker.pipeline.plan import cameras_of

    device, folder = start(settings), settings.people / person.name
    check_files(folder)
    avatar = load_avatar(folder, device=device, settings=settings.avatar_settings)
    cameras_of(plan, avatar)  # an unknown view fails before anything is rendered
    return RenderContext(plan, avatar, choose_encoder(device.type), scratch)


def _facts(person: PersonSummary, plan: Plan) -> dict[str, Any]:
    """Return the facts that the look of a video depends on, as JSON values."""
    look = asdict(plan.options)
    extra = look.pop("extra")
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
