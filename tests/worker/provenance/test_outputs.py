"""Every kind of output carries a manifest, and every change of a file is found."""

import ast
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.outputs import OUTPUTS, SIDECAR_SUFFIX
from contracts.provenance import ManifestFinding, ManifestState
from jobs.settings import Settings
from tests.house.source import product_files
from worker.pipeline.media.ffmpeg import executable
from worker.pipeline.publish import write_output
from worker.pipeline.take import Take
from worker.provenance.manifest import ManifestSigner
from worker.provenance.reader import read_manifest

ROOT = Path(__file__).parents[3]
SPARE = 80_000_000  # bytes of a video
NAMELESS = ("bvh", "csv")  # their formats have no place for a comment
Make = Callable[[], Take]


def written(name: str, make_take: Make, folder: Path, signer: ManifestSigner) -> tuple[Path, ...]:
    output = OUTPUTS[name]
    return write_output(output, make_take(), folder / output.file_name(1), signer)


def finding(paths: tuple[Path, ...], trusted: str = "") -> ManifestFinding:
    sidecar = paths[1].read_bytes() if paths[1:] else None
    return read_manifest(paths[0], sidecar=sidecar, trusted=trusted)


@pytest.mark.parametrize("name", list(OUTPUTS.by_name))
def test_each_output_has_a_valid_manifest_that_one_changed_byte_invalidates(
    name: str, make_take: Make, tmp_path: Path, signer: ManifestSigner, trusted: str
) -> None:
    paths = written(name, make_take, tmp_path, signer)

    found = finding(paths, trusted)

    assert (found.state, found.trusted, found.reasons) == (ManifestState.VALID, True, ())
    assert [path.suffix for path in paths[1:]] == (
        [] if OUTPUTS[name].embeds_manifest else [SIDECAR_SUFFIX]
    )
    assert found.claims["request"] == "ab" * 32 and found.claims["seed"] == 5
    assert found.claims["source_type"].endswith("/trainedAlgorithmicMedia")
    assert found.claims["operator"] == "Example Ltd" and found.claims["job"] == "0198c0ffee"
    assert found.claims["consent"]["kind"] == "not stated"
    removed = finding((without_manifest(paths[0], name),))
    assert removed.state is (ManifestState.ABSENT if name in NAMELESS else ManifestState.REMOVED)
    content = bytearray(paths[0].read_bytes())
    content[-len(content) // 3] ^= 1  # in the frames or rows, not in the manifest
    paths[0].write_bytes(content)
    assert finding(paths, trusted).state is ManifestState.INVALID
    if OUTPUTS[name].frames and OUTPUTS[name].suffix != ".zip":
        swapped = with_another_sound(paths[0], tmp_path)
        found = finding((swapped, *paths[1:]), trusted)
        assert found.state is ManifestState.INVALID
        assert "the file was changed after it was signed" in found.reasons


@pytest.mark.parametrize("name", ["mp4", "mov"])
def test_signing_a_large_video_takes_little_memory(
    name: str, make_take: Make, tmp_path: Path, settings: Settings
) -> None:
    take, output = make_take(), OUTPUTS[name]
    path = tmp_path / f"large{output.suffix}"
    output.write(take, path)
    content = path.read_bytes()
    start = content.rindex(b"mdat") - 4
    assert struct.unpack_from(">I", content, start)[0] == len(content) - start  # the last box
    longer = struct.pack(">I", len(content) - start + SPARE)
    path.write_bytes(content[:start] + longer + content[start + 4 :] + bytes(SPARE))
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from contracts.outputs import OUTPUTS; from contracts.provenance import Origin\n"
        "from jobs.settings import Settings\n"
        "from worker.provenance.manifest import open_signer\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1000\n"
        "signer, before = open_signer(Settings(data=Path(sys.argv[1]))), peak()\n"
        "signer.sign(Path(sys.argv[2]), OUTPUTS[sys.argv[3]], Origin('ab', 'demo', 'cd'), {})\n"
        "print(peak() - before)\n"
    )
    command = [sys.executable, "-c", script, str(settings.data), str(path), name]

    used = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout

    assert int(used) < SPARE / 4
    assert read_manifest(path).state is ManifestState.VALID
    with path.open("r+b") as file:
        file.seek(-SPARE // 2, os.SEEK_END)
        file.write(b"x")
    assert read_manifest(path).state is ManifestState.INVALID


def without_manifest(path: Path, name: str) -> Path:
    """Return a copy of a file that has lost its manifest, as a converter leaves it."""
    if not OUTPUTS[name].embeds_manifest:
        return path
    copy = path.with_name(f"removed{path.suffix}")
    ffmpeg("-i", str(path), "-c", "copy", str(copy))
    return copy


def with_another_sound(path: Path, folder: Path) -> Path:
    """Return a copy with a tone instead of its sound, into which an embedded manifest is put."""
    copy = folder / f"swapped{path.suffix}"
    tone = ("-f", "lavfi", "-i", "sine=duration=0.3")
    ffmpeg(
        "-i", str(path), *tone, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-shortest", str(copy)
    )
    content = path.read_bytes()
    if (found := content.find(b"uuid")) > 0:
        box = content[found - 4 :][: int.from_bytes(content[found - 4 : found], "big")]
        other = copy.read_bytes()
        end = int.from_bytes(other[:4], "big")  # of its first box, ftyp
        copy.write_bytes(other[:end] + box + other[end:])
    return copy


def ffmpeg(*arguments: str) -> None:
    subprocess.run([executable(), "-v", "error", *arguments], check=True)


def test_no_output_is_written_past_the_function_that_signs() -> None:
    """Only `write_output` calls `write(take, path)` of an output."""
    callers = {
        str(path.relative_to(ROOT))
        for path in product_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "write"
        and len(node.args) == 2
        and isinstance(node.args[0], ast.Name)
        and node.args[0].id == "take"
    }

    assert callers == {"worker/pipeline/publish.py"}


def test_a_file_without_any_sign_of_visavis_is_not_accused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")

    assert finding((tmp_path / "a.csv",)).state is ManifestState.ABSENT


def test_a_sidecar_of_another_file_is_invalid(
    make_take: Make, tmp_path: Path, signer: ManifestSigner
) -> None:
    _, sidecar = written("webm", make_take, tmp_path, signer)
    other, _ = written("bvh", make_take, tmp_path, signer)

    assert finding((other, sidecar)).state is ManifestState.INVALID
    shutil.copy(other, sidecar)  # not a manifest at all
    assert finding((other, sidecar)).state is ManifestState.INVALID
