"""Files of strangers: torch pickles, JSON and YAML, read without executing what is inside.

A pickle names what it wants to call. The names are listed first, without calling anything, and a
file with a name that weights do not need is not opened. Then torch's own restricted unpickler reads
it; numpy's arrays and foreign objects are taken by stand-ins that only keep what they are given.
"""

from __future__ import annotations

import argparse
import io
import json
import pickletools
import re
import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

MOST_PICKLE = 1 << 28  # bytes of the part of a file that is not numbers
MOST_TEXT = 1 << 22  # bytes of JSON or YAML
DEEPEST = 32  # dicts in dicts
ZIP, LEGACY = b"PK\x03\x04", b"\x80"  # how files of torch begin
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PICKLES = 5  # magic number, version, machine, the object, names of its storages

_WEIGHTS = re.compile(
    r"collections\.(OrderedDict|Counter)"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)"
    r"|torch(\.cuda)?\.[A-Z][a-zA-Z0-9]*Storage|torch\.storage\.UntypedStorage"
    r"|torch\.nn\.parameter\.Parameter|torch\.(Size|device|[a-z]+[0-9]+)"
    r"|_codecs\.encode|builtins\.set"
)
# What other parts of a file may be made of, of which nothing is read: an optimiser beside a
# tokenizer, the settings that newer versions of fairseq keep.
_TYPES = r"builtins\.(dict|list|tuple|int|float|str|bool|object)"
OPTIMISER = rf"torch\.optim\..*|{_TYPES}"
SETTINGS = rf"{OPTIMISER}|omegaconf\..*|fairseq\..*|typing\.\w+"


class ReleasedError(ValueError):
    """A released file that is missing, damaged or another than it should be: one sentence."""


class Inert:
    """Stands for a foreign object, and forgets what it is given."""

    def __new__(cls, *_arguments: object) -> Inert:
        """Whatever it is made of."""
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        """Nothing is kept."""

    def __setstate__(self, _state: object) -> None:
        """Nothing is kept."""


class _Dtype:
    """Stands for numpy.dtype: what it is called, and the order of its bytes."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        if not re.fullmatch(r"(b1|[fiu][1248])", self.code) or self.order not in "<>=|":
            raise ValueError(f"arrays of {self.order}{self.code} are not read")
        return np.dtype(self.order.replace("|", "=") + self.code)


@dataclass
class _Array:
    """Stands for numpy.ndarray: its bytes, until they are asked for."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def numpy(self) -> NDArray[Any]:
        _, shape, dtype, by_column, content = self.state
        kind = dtype.numpy()
        flat = np.frombuffer(content, kind).astype(kind.newbyteorder("="))
        return flat.reshape(shape, order="F" if by_column else "C")


def _array(*_arguments: object) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, content: bytes) -> Any:
    return np.frombuffer(content, dtype.numpy(), count=1)[0].item()


def _empty() -> bytes:
    return b""


def _dict(*_arguments: object) -> dict[Any, Any]:
    return {}


_NUMPY: dict[str, Callable[..., Any]] = {"_reconstruct": _array, "scalar": _scalar}
_STAND_INS: dict[str, Callable[..., Any]] = {
    "argparse.Namespace": argparse.Namespace,
    "builtins.bytes": _empty,  # how protocol 2 writes b""
    "collections.defaultdict": _dict,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    **{f"numpy.core.multiarray.{name}": stand_in for name, stand_in in _NUMPY.items()},
    **{f"numpy._core.multiarray.{name}": stand_in for name, stand_in in _NUMPY.items()},
}


def read_torch(path: Path, *, inert: str = "") -> Any:
    """What torch.save wrote, on the CPU; arrays of numpy as such.

    inert: a pattern of names whose objects are read as `Inert`. ReleasedError for a file that asks
    for any other name, is damaged, or is none of torch.
    """
    try:
        look = _look(path)
    except OSError as error:
        raise ReleasedError(f"{path} cannot be read: {error.strerror or error}") from error
    except ReleasedError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise ReleasedError(_damaged(path, error)) from error
    stand_ins = dict(_STAND_INS)
    for name in sorted(look.names):
        if name in stand_ins or _WEIGHTS.fullmatch(name):
            continue
        if not (inert and re.fullmatch(inert, name)):
            raise ReleasedError(
                f"{path} asks for {name}, which no such file needs; it was not opened: get it "
                "from where it was released"
            )
        stand_ins[name] = type("Inert", (Inert,), {})
    try:
        safe: list[Any] = [(stand_in, name) for name, stand_in in stand_ins.items()]
        with torch.serialization.safe_globals(safe):
            value = torch.load(path, map_location="cpu", weights_only=True, mmap=look.mappable)
        return _plain(value)
    except Exception as error:
        raise ReleasedError(_damaged(path, error)) from error


def tensors_of(value: object, path: Path, *, key: str | None = None) -> dict[str, Tensor]:
    """The dict of tensors that a file holds, below `key` if one is given. Raises ReleasedError."""
    where = f"{path}: {key}" if key else str(path)
    if key is not None:
        if not isinstance(value, dict) or key not in value:
            raise ReleasedError(f"{path} lacks {key!r}; {_told(value)}")
        value = value[key]
    if not isinstance(value, dict) or not value:
        raise ReleasedError(f"{where} must be a dict of tensors; {_told(value)}")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ReleasedError(f"{where}: {name} must be a tensor, found {type(tensor).__name__}")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ReleasedError."""
    try:
        value = json.loads(_text(path))
    except ValueError as error:
        raise ReleasedError(f"{path} is not JSON: {error}") from error
    return _object(value, path)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping of plain values, references like ${a.b} followed. Raises ReleasedError."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ReleasedError(
            f"{path} needs PyYAML; `pip install 'visavis-server[worker]'`"
        ) from error
    try:
        value = _object(yaml.safe_load(_text(path)), path)
        return {name: _followed(part, value, 0) for name, part in value.items()}
    except (yaml.YAMLError, RecursionError) as error:
        words = " ".join(str(error).split())
        raise ReleasedError(f"{path} is not plain YAML: {words}") from error


def _followed(part: Any, root: Mapping[str, Any], depth: int) -> Any:
    """OmegaConf's references to other values of the same file."""
    if depth > DEEPEST:
        raise RecursionError("references that never end")
    if isinstance(part, dict):
        return {name: _followed(value, root, depth + 1) for name, value in part.items()}
    if isinstance(part, list):
        return [_followed(value, root, depth + 1) for value in part]
    reference = re.fullmatch(r"\$\{([\w.]+)\}", part) if isinstance(part, str) else None
    if reference is None:
        return part
    found: Any = root
    for name in reference[1].split("."):
        if not isinstance(found, dict) or name not in found:
            return part  # what it refers to is elsewhere; nobody here may need it
        found = found[name]
    return _followed(found, root, depth + 1)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_TEXT:
            raise ReleasedError(f"{path} has more than {MOST_TEXT >> 20} MB; that is no settings")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReleasedError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ReleasedError(f"{path} is not text: {error}") from error


def _object(value: object, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ReleasedError(f"{path} must hold names with values, found {type(value).__name__}")
    return value


@dataclass(frozen=True)
class _Look:
    """What is seen of a file without opening it."""

    names: set[str]  # all that its pickles ask for, module and name
    mappable: bool  # whether numbers may stay in the file until they are needed


def _look(path: Path) -> _Look:
    with path.open("rb") as file:
        begin = file.read(4)
        file.seek(0)
        if begin == ZIP:
            return _look_at_zip(path)
        if begin[:1] != LEGACY:
            raise ReleasedError(f"{path} is no file of torch; get it again")
        return _Look(_names_in_stream(file, path), mappable=False)


def _look_at_zip(path: Path) -> _Look:
    if not zipfile.is_zipfile(path):
        raise ReleasedError(f"{path} is cut off; get it again")
    with zipfile.ZipFile(path) as archive:
        files = archive.infolist()
        pickles = [each for each in files if each.filename.endswith("data.pkl")]
        if len(pickles) != 1 or any("constants.pkl" in each.filename for each in files):
            raise ReleasedError(f"{path} is no file of torch.save; get it from where it came")
        if pickles[0].file_size > MOST_PICKLE:
            raise ReleasedError(f"{path} holds a pickle of {pickles[0].file_size} bytes; too large")
        names = set(_asked(io.BytesIO(archive.read(pickles[0]))))
        return _Look(names, all(each.compress_type == zipfile.ZIP_STORED for each in files))


def _names_in_stream(file: IO[bytes], path: Path) -> set[str]:
    magic = [value for operation, value, _ in pickletools.genops(file) if operation.name == "LONG1"]
    if magic != [LEGACY_MAGIC]:
        raise ReleasedError(f"{path} is a pickle, but none of torch.save; it was not opened")
    return {name for _ in range(LEGACY_PICKLES - 1) for name in _asked(file)}


def _asked(file: IO[bytes]) -> Iterator[str]:
    """Names in one pickle. Only the old operation is there: torch's unpickler knows no other."""
    for operation, value, _ in pickletools.genops(file):
        if operation.name == "GLOBAL":
            module, _, name = str(value).partition(" ")
            yield f"{module.replace('__builtin__', 'builtins')}.{name}"
        elif operation.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX"):
            raise ValueError(f"operation {operation.name} is not read")


def _plain(value: Any, depth: int = 0) -> Any:
    """The same with arrays in place of what stood for them, in dicts and lists."""
    if depth > DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(value, _Array):
        return value.numpy()
    if type(value) is list and any(isinstance(each, (_Array, dict, list)) for each in value):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each, depth + 1) for key, each in value.items()}
    return value


def _damaged(path: Path, error: Exception) -> str:
    words = " ".join(str(error).split())[:160] or type(error).__name__
    return f"{path} is damaged or no file of torch ({words}); get it again"


def _told(value: object) -> str:
    if isinstance(value, dict):
        return f"found {', '.join(map(str, list(value)[:5])) or 'nothing'}"
    return f"found {type(value).__name__}"
