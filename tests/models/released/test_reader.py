"""Files of strangers are read and not executed."""

import argparse
import io
import os
import pickle
import sys
import tarfile
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.released.reader import (
    OPTIMISER,
    SETTINGS,
    Inert,
    ReleasedError,
    read_json,
    read_torch,
    read_yaml,
    tensors_of,
)
from tests.released_layout import trained

both_formats = pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


def save(path: Path, value: object, *, new: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return path


def with_old_names(path: Path) -> None:
    """As numpy 1 wrote it; the names of a zip's pickle are lines of text."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content.replace(b"cnumpy._core.multi", b"cnumpy.core.multi"))


@both_formats
def test_tensors_and_plain_values_come_back(tmp_path: Path, new: bool) -> None:
    value = {"a": torch.arange(3), "b": [1, "two", None], "c": torch.ones(2, 2).half().t()}
    back = read_torch(save(tmp_path / "x.pt", value, new=new))
    assert torch.equal(back["a"], value["a"])
    assert torch.equal(back["c"], value["c"])
    assert back["b"] == value["b"]


@both_formats
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array([True, False]),
        np.zeros((0, 3), np.float32),
        np.array([1, 2], ">i4"),
    ],
    ids=["float64", "by column", "bool", "empty", "big endian"],
)
def test_arrays_of_numpy_come_back(tmp_path: Path, array: np.ndarray, new: bool) -> None:
    back = read_torch(save(tmp_path / "x.pt", {"inside": {"x": array}}, new=new))["inside"]["x"]
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype.newbyteorder("=")


def test_arrays_under_the_names_of_numpy_1_come_back(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"x": np.arange(3.0), "y": np.float32(1.5)})
    with_old_names(path)
    back = read_torch(path)
    np.testing.assert_array_equal(back["x"], [0.0, 1.0, 2.0])
    assert back["y"] == 1.5


@both_formats
def test_an_optimizer_beside_the_weights_is_read_past(tmp_path: Path, new: bool) -> None:
    scheduler, optimiser = trained()
    value = {"net": {"w": torch.ones(1)}, "optimizer": optimiser.state_dict(), "s": scheduler}
    back = read_torch(save(tmp_path / "x.pt", value, new=new), inert=OPTIMISER)
    assert torch.equal(back["net"]["w"], torch.ones(1))
    assert isinstance(back["s"], Inert)


@both_formats
def test_arguments_are_read_as_plain_values(tmp_path: Path, new: bool) -> None:
    args = argparse.Namespace(activation="gelu", log_compression=False)
    back = read_torch(save(tmp_path / "x.pt", {"args": args}, new=new))
    assert vars(back["args"]) == {"activation": "gelu", "log_compression": False}


def test_settings_of_newer_versions_are_read_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("omegaconf.dictconfig")
    module.DictConfig = type("DictConfig", (), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", module)
    config = module.DictConfig()
    config.__dict__["_content"] = {"model": {"activation": "gelu"}, "kind": dict}
    path = save(tmp_path / "x.pt", {"cfg": config, "model": {"w": torch.ones(1)}})
    monkeypatch.undo()

    back = read_torch(path, inert=SETTINGS)

    assert isinstance(back["cfg"], Inert)
    assert vars(back["cfg"]) == {}
    with pytest.raises(ReleasedError, match=r"asks for (omegaconf\.\S+|builtins\.dict),"):
        read_torch(path)


@both_formats
@pytest.mark.parametrize("inert", ["", OPTIMISER, SETTINGS])
def test_code_is_not_executed(tmp_path: Path, new: bool, inert: str) -> None:
    marker = tmp_path / "marker"
    path = save(tmp_path / "x.pt", {"args": Evil(marker)}, new=new)
    with pytest.raises(ReleasedError, match=r"x\.pt asks for posix\.mkdir, which no such file"):
        read_torch(path, inert=inert)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8c\x05posix\x8c\x05mkdir\x93\x8c\x01m\x85R.",  # protocol 4
        b"cposix\nmkdir\n(Vm\ntR.",  # protocol 0
        b"\x80\x02]q\x00.",
        b"",
        b"<html>not found</html>",
    ],
)
def test_a_pickle_that_is_none_of_torch_is_not_opened(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(ReleasedError, match=r"x\.pt "):
        read_torch(path)


def test_a_second_pickle_behind_the_first_is_looked_at_too(tmp_path: Path) -> None:
    """The old format is five pickles in a row: the evil may sit in any."""
    path = save(tmp_path / "x.pt", {"a": torch.ones(1)}, new=False)
    content = path.read_bytes()
    first = io.BytesIO(content)
    pickle.load(first)  # the magic number, of our own making
    evil = b"\x80\x02cposix\nmkdir\nX\x01\x00\x00\x00m\x85R."
    path.write_bytes(content[: first.tell()] + evil + content[first.tell() :])
    with pytest.raises(ReleasedError, match=r"asks for posix\.mkdir"):
        read_torch(path)


def test_a_tar_and_a_program_of_torch_are_not_opened(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    with zipfile.ZipFile(tmp_path / "y.pt", "w") as archive:
        archive.writestr("y/data.pkl", b"\x80\x02N.")
        archive.writestr("y/constants.pkl", b"\x80\x02N.")
    for name in ("x.pt", "y.pt"):
        with pytest.raises(ReleasedError, match=f"{name} is no file of torch"):
            read_torch(tmp_path / name)


@both_formats
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_told(tmp_path: Path, new: bool, share: float) -> None:
    path = save(tmp_path / "x.pt", {"a": torch.randn(1000), "b": torch.randn(9)}, new=new)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ReleasedError, match=r"x\.pt is (cut off|damaged).*get it again$"):
        read_torch(path)


def test_arrays_of_objects_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(ReleasedError, match=r"arrays of .*O8 are not read"):
        read_torch(save(tmp_path / "x.pt", {"x": np.array([{}], dtype=object)}))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1], "must be a dict of tensors; found list"),
        ({}, "must be a dict of tensors; found nothing"),
        ({"a": 3}, "a must be a tensor, found int"),
    ],
)
def test_what_is_no_state_dict_is_told(value: object, words: str) -> None:
    with pytest.raises(ReleasedError, match=words):
        tensors_of(value, Path("x.pt"))


def test_a_part_that_is_missing_is_told_with_those_that_are_there() -> None:
    with pytest.raises(ReleasedError, match=r"x\.pt lacks 'net'; found model, step"):
        tensors_of({"model": {}, "step": 3}, Path("x.pt"), key="net")


def test_yaml_is_plain_and_its_references_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text('a: {b: 3}\nc: ${a}\nd: ["${a.b}", \'${elsewhere:x}\', "${a.none}"]\n')
    assert read_yaml(path) == {
        "a": {"b": 3}, "c": {"b": 3}, "d": [3, "${elsewhere:x}", "${a.none}"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.mkdir [marker]",
        "a: !!python/name:os.mkdir",
        "a: ${b}\nb: ${a}",
        "a: [1",
        "- a list",
        "",
    ],
)
def test_yaml_that_is_not_plain_is_told(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yml").write_text(text)
    with pytest.raises(ReleasedError, match=r"config\.yml (is not plain YAML|must hold names)"):
        read_yaml(tmp_path / "config.yml")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b""])
def test_json_that_is_none_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "args.json").write_bytes(content)
    with pytest.raises(ReleasedError, match=r"args\.json (is not|must hold)"):
        read_json(tmp_path / "args.json")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for read in (read_torch, read_json, read_yaml):
        with pytest.raises(ReleasedError, match="nowhere cannot be read: No such file"):
            read(tmp_path / "nowhere")
