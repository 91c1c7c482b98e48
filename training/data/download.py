"""Download of a person's released recordings: fetch, unpack, and check before they are used."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from models.formats.dataset import ENDINGS, find_scenes
from models.released.archives import unpack
from models.released.download import PEOPLE, DownloadError, dataset_downloads, fetch

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.formats.dataset import SceneFiles
    from models.released.download import Download, Progress

STATISTICS = "data_stats.pth"
DOWNLOADS = "downloads"
MOST_BYTES = 256 << 30  # unpacked size of hours of 48 kHz audio


def get_recordings(
    person: str,
    folder: Path,
    *,
    origin: str | None = None,
    progress: Progress = lambda _name, _done, _all: None,
    notify: Callable[[str], None] = lambda _message: None,
    keep_archive: bool = False,
) -> list[SceneFiles]:
    """Download and unpack a person's recordings into `folder / person`; return the scenes.

    origin: a mirror, or a folder with the archive. Existing recordings are not downloaded again; an
    interrupted download is continued.
    Raises: DownloadError: when a download fails. ReleasedError: when the archive is damaged.
    DatasetError: when a scene is invalid.
    """
    target = folder / person
    if target.is_dir():
        notify(f"{target} exists already")
        return find_scenes(target)
    mirror = origin if origin is not None and re.match(r"https?://", origin) else None
    if person not in PEOPLE and origin is None:
        raise DownloadError(
            f"no recordings of {person!r} were released; available are {', '.join(PEOPLE)}"
        )
    archive, statistics = dataset_downloads(person, mirror)
    downloads = folder / DOWNLOADS
    if origin is not None and mirror is None:
        path = Path(origin) / archive.path
        if not path.is_file():
            raise DownloadError(f"{path} not found; pass the folder that has {archive.path}")
    else:
        path = fetch(archive, downloads, progress=progress)
    scenes = _unpack(path, target)
    if mirror is not None or origin is None:
        _add_statistics(statistics, target, downloads, notify)
        if not keep_archive:
            path.unlink()
    return scenes


def _unpack(archive: Path, target: Path) -> list[SceneFiles]:
    """Unpack all scenes of an archive, or none if one is invalid."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        unpack(archive, draft, select=_selected, max_bytes=MOST_BYTES)
        folders = {path.parent for path in draft.rglob(f"*{ENDINGS[0]}")}
        named = {folder for folder in folders if folder.name == target.name}
        source = min(named or folders, default=draft)
        find_scenes(source)
        source.chmod(0o755)
        source.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return find_scenes(target)


def _selected(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.endswith((*ENDINGS, STATISTICS)) and not last.startswith("._")


def _add_statistics(
    statistics: Download, target: Path, downloads: Path, notify: Callable[[str], None]
) -> None:
    """Download the statistics if the archive has none; they are optional."""
    if (target / STATISTICS).is_file():
        return
    try:
        fetched = fetch(statistics, downloads)
    except DownloadError as error:
        notify(f"{error}; continuing without statistics (`data stats` computes them)")
        return
    fetched.replace(target / STATISTICS)
