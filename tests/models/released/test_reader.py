"""Untrusted files are read without executing code in them."""

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


class Malicious:
    """Object whose unpickling creates a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


def save(path: Path, value: object, *, new: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return path


def with_old_names(path: Path) -> None:
    """Rewrite the file with module names of numpy 1, which are text in the pickle."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content.replace(b"cnumpy._core.multi", b"cnumpy.core.multi"))


@both_formats
def test_tensors_and_plain_values_are_loaded(tmp_path: Path, new: bool) -> None:
    value = {"a": torch.arange(3), "b": [1, "two", None], "c": torch.ones(2, 2).half().t()}
    loaded = read_torch(save(tmp_path / "x.pt", value, new=new))
    assert torch.equal(loaded["a"], value["a"])
    assert torch.equal(loaded["c"], value["c"])
    assert loaded["b"] == value["b"]


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
    ids=["float64", "column-major", "bool", "empty", "big endian"],
)
def test_numpy_arrays_are_loaded(tmp_path: Path, array: np.ndarray, new: bool) -> None:
    loaded = read_torch(save(tmp_path / "x.pt", {"outer": {"x": array}}, new=new))["outer"]["x"]
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype.newbyteorder("=")


def test_arrays_with_the_module_names_of_numpy_1_are_loaded(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"x": np.arange(3.0), "y": np.float32(1.5)})
    with_old_names(path)
    loaded = read_torch(path)
    np.testing.assert_array_equal(loaded["x"], [0.0, 1.0, 2.0])
    assert loaded["y"] == 1.5


@both_formats
def test_an_optimizer_beside_the_weights_is_ignored(tmp_path: Path, new: bool) -> None:
    scheduler, optimiser = trained()
    value = {"net": {"w": torch.ones(1)}, "optimizer": optimiser.state_dict(), "s": scheduler}
    loaded = read_torch(save(tmp_path / "x.pt", value, new=new), inert=OPTIMISER)
    assert torch.equal(loaded["net"]["w"], torch.ones(1))
    assert isinstance(loaded["s"], Inert)


@both_formats
def test_arguments_are_loaded_as_plain_values(tmp_path: Path, new: bool) -> None:
    args = argparse.Namespace(activation="gelu", log_compression=False)
    loaded = read_torch(save(tmp_path / "x.pt", {"args": args}, new=new))
    assert vars(loaded["args"]) == {"activation": "gelu", "log_compression": False}


def test_settings_of_newer_versions_are_ignored(
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

    loaded = read_torch(path, inert=SETTINGS)

    assert isinstance(loaded["cfg"], Inert)
    assert vars(loaded["cfg"]) == {}
    with pytest.raises(ReleasedError, match=r"contains (omegaconf\.\S+|builtins\.dict),"):
        read_torch(path)


@both_formats
@pytest.mark.parametrize("inert", ["", OPTIMISER, SETTINGS])
def test_code_is_not_executed(tmp_path: Path, new: bool, inert: str) -> None:
    marker = tmp_path / "marker"
    path = save(tmp_path / "x.pt", {"args": Malicious(marker)}, new=new)
    with pytest.raises(ReleasedError, match=r"x\.pt: contains posix\.mkdir, which weights do not"):
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
def test_a_pickle_of_another_program_is_not_loaded(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(ReleasedError, match=r"x\.pt: "):
        read_torch(path)


def test_a_second_pickle_in_a_file_is_inspected_too(tmp_path: Path) -> None:
    """The old format has five consecutive pickles, and any of them can be malicious."""
    path = save(tmp_path / "x.pt", {"a": torch.ones(1)}, new=False)
    content = path.read_bytes()
    first = io.BytesIO(content)
    pickle.load(first)  # the magic number, written by this test
    malicious = b"\x80\x02cposix\nmkdir\nX\x01\x00\x00\x00m\x85R."
    path.write_bytes(content[: first.tell()] + malicious + content[first.tell() :])
    with pytest.raises(ReleasedError, match=r"contains posix\.mkdir"):
        read_torch(path)


def test_a_tar_and_a_torchscript_file_are_not_loaded(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    with zipfile.ZipFile(tmp_path / "y.pt", "w") as archive:
        archive.writestr("y/data.pkl", b"\x80\x02N.")
        archive.writestr("y/constants.pkl", b"\x80\x02N.")
    for name in ("x.pt", "y.pt"):
        with pytest.raises(ReleasedError, match=f"{name}: not a (torch file|file of torch)"):
            read_torch(tmp_path / name)


@both_formats
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, new: bool, share: float) -> None:
    path = save(tmp_path / "x.pt", {"a": torch.randn(1000), "b": torch.randn(9)}, new=new)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ReleasedError, match=r"x\.pt: (truncated|damaged).*download it again$"):
        read_torch(path)


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleasedError, match=r"unsupported array type .*O8"):
        read_torch(save(tmp_path / "x.pt", {"x": np.array([{}], dtype=object)}))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], "must be a dict of tensors; found list"),
        ({}, "must be a dict of tensors; found nothing"),
        ({"a": 3}, "a must be a tensor, found int"),
    ],
)
def test_a_value_other_than_a_state_dict_is_refused(value: object, message: str) -> None:
    with pytest.raises(ReleasedError, match=message):
        tensors_of(value, Path("x.pt"))


def test_the_error_for_a_missing_key_lists_the_present_keys() -> None:
    with pytest.raises(ReleasedError, match=r"x\.pt: 'net' is missing; found model, step"):
        tensors_of({"model": {}, "step": 3}, Path("x.pt"), key="net")


def test_references_in_yaml_are_resolved(tmp_path: Path) -> None:
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
def test_invalid_or_unsafe_yaml_is_refused(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yml").write_text(text)
    with pytest.raises(ReleasedError, match=r"config\.yml: (invalid YAML|must be a mapping)"):
        read_yaml(tmp_path / "config.yml")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b""])
def test_invalid_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "args.json").write_bytes(content)
    with pytest.raises(
        ReleasedError, match=r"args\.json: (invalid JSON|not a text file|must be a mapping)"
    ):
        read_json(tmp_path / "args.json")


def test_the_error_names_a_missing_file(tmp_path: Path) -> None:
    for read in (read_torch, read_json, read_yaml):
        with pytest.raises(ReleasedError, match=r"nowhere: cannot be read \(No such file"):
            read(tmp_path / "nowhere")
