"""Manifests: what is read, what is refused with line and field, and how items are shared out."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.house.source import ROOT, product_files
from worker.bulk.manifest import Item, Manifest, ManifestError, Shard

IMPORT = re.compile(r"^\s*(?:import|from) ray\b", re.MULTILINE)


def lines(folder: Path, *rows: dict[str, Any] | str) -> str:
    path = folder / "items.jsonl"
    path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in rows))
    return str(path)


def items(source: str, folder: Path, defaults: dict[str, Any] | None = None) -> list[Item]:
    manifest = Manifest(source, defaults or {}, folder)
    manifest.check()
    return list(manifest.items())


def test_an_item_has_the_fields_of_its_line_before_the_defaults(tmp_path: Path) -> None:
    source = lines(tmp_path, {"audio": "a.wav", "seed": 3}, "", {"audio": "s3://b/x.wav"})

    first, second = items(source, tmp_path, {"seed": 9, "takes": 2})

    assert (first.line, first.audio) == (1, str(tmp_path / "a.wav"))
    assert (first.request.seed, first.request.takes) == (3, 2)
    assert (second.line, second.audio, second.request.seed) == (3, "s3://b/x.wav", 9)


def test_an_item_without_seed_has_the_same_one_in_every_run(tmp_path: Path) -> None:
    source = lines(tmp_path, {"audio": "a.wav"}, {"audio": "b.wav"})

    first, again = items(source, tmp_path), items(source, tmp_path)

    assert first == again
    assert first[0].request.seed != first[1].request.seed
    assert first[0].name != first[1].name


def test_both_persons_of_an_item_are_checked(tmp_path: Path) -> None:
    source = lines(tmp_path, {"audio": "a.wav", "both": True, "partner_person": "bob"})

    assert Manifest(source, {}, tmp_path).check().people.keys() == {"demo", "bob"}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"audio": "a.wav", "sede": 1}, "line 2: sede: unknown field; did you mean 'seed'?"),
        ({"audio": "a.wav", "priority": 1}, "line 2: priority: unknown field"),
        ({"audio": "a.wav", "takes": 99}, "line 2: takes: should be less than or equal to 10"),
        ({"seed": 1}, "line 2: audio: missing"),
        ("{", "line 2: invalid JSON"),
        ("[]", "line 2: no object"),
        ('{"audio": "a.wav", "audio": "b.wav"}', "line 2: invalid JSON: 'audio' occurs twice"),
        ({"audio": "b.wav", "item": "one"}, "line 2: item: 'one' is also the name of line 1"),
    ],
)
def test_a_manifest_with_a_fault_is_refused_with_line_and_field(
    tmp_path: Path, row: dict[str, Any] | str, fault: str
) -> None:
    source = lines(tmp_path, {"audio": "a.wav", "item": "one"}, row)

    with pytest.raises(ManifestError) as refused:
        Manifest(source, {}, tmp_path).check()

    assert str(refused.value).startswith(fault)


def test_repeated_lines_are_one_item(tmp_path: Path) -> None:
    row = {"audio": "a.wav", "seed": 1}
    manifest = Manifest(lines(tmp_path, row, {"audio": "b.wav"}, row), {}, tmp_path)

    checked = manifest.check()

    assert (checked.total, checked.repeats) == (2, [(3, 1)])
    assert [item.line for item in manifest.items()] == [1, 2]


def test_parquet_has_the_same_items_as_lines(tmp_path: Path) -> None:
    rows = [{"audio": "a.wav", "seed": 5, "outputs": ["motion"]}, {"audio": "b.wav", "seed": None}]
    source = tmp_path / "items.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), source)

    given = lines(tmp_path, rows[0], {"audio": "b.wav"})

    assert items(str(source), tmp_path) == items(given, tmp_path)


def test_a_glob_names_items_by_their_path_below_its_fixed_folder(tmp_path: Path) -> None:
    for name in ("a.wav", "deep/b c.wav", "deep/.hidden.wav", "deep/text.txt"):
        path = tmp_path / "calls" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    found = items(f"{tmp_path}/calls/**/*.wav", tmp_path)

    assert [item.name for item in found] == ["a.wav", "deep/b c.wav"]
    assert found[0].folder == "items/a.wav"
    assert found[1].folder.startswith("items/deep-b-c-wav-")


def test_shards_share_all_items(tmp_path: Path) -> None:
    source = lines(tmp_path, *({"audio": f"{number}.wav"} for number in range(10)))

    shards = [Manifest(source, {}, tmp_path, Shard(index, 4)) for index in range(4)]

    assert [shard.check().total for shard in shards] == [3, 3, 2, 2]
    found = [item.line for shard in shards for item in shard.items()]
    assert sorted(found) == list(range(1, 11))


@pytest.mark.parametrize("source", ["none.jsonl", "none/*.wav", "talk.wav"])
def test_other_sources_are_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(ManifestError):
        Manifest(str(tmp_path / source), {}, tmp_path)


def test_only_modules_named_after_ray_import_it() -> None:
    importers = [
        path.relative_to(ROOT).as_posix()
        for path in product_files()
        if IMPORT.search(path.read_text()) and not path.name.startswith("ray_")
    ]

    assert importers == []
