"""`visavis-server install-people`: checked copies of person directories, for volumes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from cli.console import MISUSED, fail, make_console
from contracts.person import MANIFEST, PersonError, check_files, read_manifest


def run_install(source: Path, target: Path) -> None:
    """Copy every person of `source` to `target`; nothing is copied if one is damaged.

    A person with the same files stays as it is. Another version is replaced by two renames, so a
    process that reads meanwhile finds one of the two or, for an instant, none.
    """
    folders = [path.parent for path in sorted(source.glob(f"*/{MANIFEST}"))]
    if not folders:
        fail(f"{source} contains no person directory", MISUSED)
    try:
        for folder in folders:
            check_files(folder)
    except PersonError as error:
        fail(str(error), MISUSED)
    target.mkdir(parents=True, exist_ok=True)
    console = make_console()
    for folder in folders:
        status = "installed" if _install(folder, target / folder.name) else "unchanged"
        console.print(f"{status}  {target / folder.name}", soft_wrap=True)


def _install(folder: Path, target: Path) -> bool:
    """Copy one person, check the copy and rename it. Returns False if it is there already."""
    manifest = read_manifest(folder)
    if _complete(target, manifest.digest):
        return False
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=target.parent))
    try:
        draft.chmod(0o755)
        for name in (*manifest.files, MANIFEST):
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, draft / name)
        check_files(draft)
        if target.exists():
            target.rename(draft / ".previous")
        draft.rename(target)
        shutil.rmtree(target / ".previous", ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True


def _complete(target: Path, digest: str) -> bool:
    try:
        check_files(target)
        return read_manifest(target).digest == digest
    except PersonError:
        return False
