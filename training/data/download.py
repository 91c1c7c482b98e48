"""The released recordings of a person: fetched, unpacked, and looked at before they are shown."""

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
MOST_BYTES = 256 << 30  # of what is unpacked: hours of 48 kHz sound


def get_recordings(
    person: str,
    folder: Path,
    *,
    origin: str | None = None,
    progress: Progress = lambda _name, _done, _all: None,
    tell: Callable[[str], None] = lambda _words: None,
    keep_archive: bool = False,
) -> list[SceneFiles]:
    """Fetch and unpack a person's recordings into `folder / person`; answers the scenes.

    origin: a mirror, or a folder that has the archive. What is there already is not fetched again,
    and what was begun is continued. Raises DownloadError, ReleasedError, DatasetError.
    """
    place = folder / person
    if place.is_dir():
        tell(f"{place} is there already")
        return find_scenes(place)
    mirror = origin if origin is not None and re.match(r"https?://", origin) else None
    if person not in PEOPLE and origin is None:
        raise DownloadError(
            f"there are no released recordings of {person!r}; there are {', '.join(PEOPLE)}"
        )
    archive, statistics = dataset_downloads(person, mirror)
    downloads = folder / DOWNLOADS
    if origin is not None and mirror is None:
        path = Path(origin) / archive.path
        if not path.is_file():
            raise DownloadError(f"there is no {path}; name the folder that has {archive.path}")
    else:
        path = fetch(archive, downloads, progress=progress)
    scenes = _unpacked(path, place)
    if mirror is not None or origin is None:
        _add_statistics(statistics, place, downloads, tell)
        if not keep_archive:
            path.unlink()
    return scenes


def _unpacked(archive: Path, place: Path) -> list[SceneFiles]:
    """The scenes of an archive in their place; all of them or nothing."""
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        unpack(archive, draft, select=_wanted, max_bytes=MOST_BYTES)
        inside = {path.parent for path in draft.rglob(f"*{ENDINGS[0]}")}
        named = {folder for folder in inside if folder.name == place.name}
        source = min(named or inside, default=draft)
        find_scenes(source)
        source.chmod(0o755)
        source.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return find_scenes(place)


def _wanted(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.endswith((*ENDINGS, STATISTICS)) and not last.startswith("._")


def _add_statistics(
    parcel: Download, place: Path, downloads: Path, tell: Callable[[str], None]
) -> None:
    """Where the archive had none. It goes without: `data stats` measures them."""
    if (place / STATISTICS).is_file():
        return
    try:
        fetched = fetch(parcel, downloads)
    except DownloadError as error:
        tell(f"{error}; it goes without")
        return
    fetched.replace(place / STATISTICS)
