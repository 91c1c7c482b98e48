"""`visavis batch`: many recordings, continued after a stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visavis.command.bars import Bar, BatchClock, Step
from visavis.command.console import CommandError, ExitStatus, interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from visavis import BatchProgress, BatchResult
    from visavis.command.session import Session

# Endings of recordings in folders; a file that is named is sent with any ending.
SUFFIXES = {
    f".{name}" for name in ("3gp", "aac", "aif", "aiff", "amr", "caf", "flac", "m4a", "mkv")
}
SUFFIXES |= {f".{name}" for name in ("mov", "mp3", "mp4", "oga", "ogg", "opus", "w64", "wav")}
SUFFIXES |= {".webm", ".wma"}


def run_batch(
    session: Session,
    files: Sequence[Path],
    out: Path,
    fields: dict[str, Any],
    *,
    concurrency: int,
    journal: Path | None,
    again: bool,
) -> int:
    """Make the videos, print each result, and return the exit status."""
    recordings = list(_recordings(files))
    output = session.output
    clock = BatchClock()

    with session.client() as client, Bar(output) as bar:
        bar.show(Step(f"0 of {len(recordings)}", 0.0))

        def changed(progress: BatchProgress) -> None:
            if progress.result is not None:
                with bar.hidden():
                    output.result(_document(progress.result), _text(progress.result))
            bar.show(clock.step(progress))

        try:
            report = client.batch(
                recordings,
                out=out,
                concurrency=concurrency,
                resume=journal,
                retry_failed=again,
                on_progress=changed,
                **fields,
            )
        except KeyboardInterrupt:
            sentence = "stopped; its jobs run on, and the same command continues the batch"
            raise interrupted(sentence) from None
    output.note(f"{len(report.succeeded)} of {len(report.results)} succeeded")
    return ExitStatus.JOB_ENDED if report.failed else ExitStatus.DONE


def _recordings(files: Sequence[Path]) -> Iterator[Path]:
    """Yield the files, and the recordings in folders. Raises: CommandError: for a missing one."""
    for path in files:
        if path.is_dir():
            found = sorted(
                each
                for each in path.iterdir()
                if each.suffix.lower() in SUFFIXES and each.is_file()
            )
            if not found:
                raise CommandError(f"no recording in {path}; name files", code="file")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise CommandError(f"no recording at {path}; check the path", code="file")


def _document(result: BatchResult) -> dict[str, Any]:
    return {
        "audio": str(result.audio),
        "partner": None if result.partner is None else str(result.partner),
        "state": result.state,
        "job": result.job_id,
        "files": [str(path) for path in result.files],
        "code": result.code,
        "detail": result.detail,
        "warnings": [vars(each) for each in result.warnings],
        "resumed": result.resumed,
    }


def _text(result: BatchResult) -> str:
    """Return the line of a result; recordings of earlier runs have none."""
    if result.state != "succeeded":
        return f"{result.audio.name}: {result.code}: {result.detail}"
    if result.resumed:
        return ""
    warnings = "".join(f"; warning: {each.code}" for each in result.warnings)
    return "\n".join(f"{path}{warnings}" for path in result.files)
