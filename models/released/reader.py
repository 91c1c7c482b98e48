"""Safe reading of untrusted torch pickles, JSON and YAML; no code in them is executed.

A pickle names the functions it calls. The names are listed first, without calling them, and a file
with a name that weights do not need is refused. Then the restricted unpickler of torch loads the
file; numpy arrays and foreign objects are replaced by stand-ins that call nothing.
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

from contracts.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

MAX_PICKLE = 1 << 28  # bytes of the pickle in a file, without tensor data
MAX_TEXT = 1 << 22  # bytes of JSON or YAML
MAX_DEPTH = 32  # of nested containers
ZIP, LEGACY = b"PK\x03\x04", b"\x80"  # first bytes of torch files
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PICKLES = 5  # magic number, version, machine, the object, names of its storages

_WEIGHTS = re.compile(
    r"collections\.(OrderedDict|Counter)"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)"
    r"|torch(\.cuda)?\.[A-Z][a-zA-Z0-9]*Storage|torch\.storage\.UntypedStorage"
    r"|torch\.nn\.parameter\.Parameter|torch\.(Size|device|[a-z]+[0-9]+)"
    r"|_codecs\.encode|builtins\.set"
)
# Names in parts of a file that are not used: the optimiser beside a tokenizer, the settings of
# newer versions of fairseq.
_TYPES = r"builtins\.(dict|list|tuple|int|float|str|bool|object)"
OPTIMISER = rf"torch\.optim\..*|{_TYPES}"
SETTINGS = rf"{OPTIMISER}|omegaconf\..*|fairseq\..*|typing\.\w+"


class ReleasedError(InputError):
    """Missing, damaged or unexpected released file."""


class Inert:
    """Stand-in for a foreign object; ignores its arguments and state."""

    def __new__(cls, *_arguments: object) -> Inert:
        """Accept any arguments."""
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        """Ignore the arguments."""

    def __setstate__(self, _state: object) -> None:
        """Ignore the state."""


class _Dtype:
    """Stand-in for numpy.dtype: type code and byte order."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        if not re.fullmatch(r"(b1|[fiu][1248])", self.code) or self.order not in "<>=|":
            raise ValueError(f"unsupported array type {self.order}{self.code}")
        return np.dtype(self.order.replace("|", "=") + self.code)


@dataclass
class _Array:
    """Stand-in for numpy.ndarray: its pickled state, converted on demand."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def numpy(self) -> NDArray[Any]:
        _, shape, dtype, fortran_order, content = self.state
        kind = dtype.numpy()
        flat = np.frombuffer(content, kind).astype(kind.newbyteorder("="))
        return flat.reshape(shape, order="F" if fortran_order else "C")


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
    "builtins.bytes": _empty,  # b"" in protocol 2
    "collections.defaultdict": _dict,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    **{f"numpy.core.multiarray.{name}": stand_in for name, stand_in in _NUMPY.items()},
    **{f"numpy._core.multiarray.{name}": stand_in for name, stand_in in _NUMPY.items()},
}


def read_torch(path: Path, *, inert: str = "") -> Any:
    """Load a file of torch.save on the CPU, with numpy arrays as such.

    inert: pattern of names whose objects are loaded as `Inert`.

    Raises: ReleasedError: when the file is damaged, not a torch file, or needs any other name.
    """
    try:
        facts = _inspect(path)
    except OSError as error:
        raise ReleasedError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ReleasedError:
        raise
    except Exception as error:  # damaged files can raise any exception
        raise ReleasedError(_damaged(path, error)) from error
    stand_ins = dict(_STAND_INS)
    for name in sorted(facts.names):
        if name in stand_ins or _WEIGHTS.fullmatch(name):
            continue
        if not (inert and re.fullmatch(inert, name)):
            raise ReleasedError(
                f"{path}: contains {name}, which weights do not need; it was not loaded: download "
                "the file from its original source"
            )
        stand_ins[name] = type("Inert", (Inert,), {})
    try:
        safe: list[Any] = [(stand_in, name) for name, stand_in in stand_ins.items()]
        with torch.serialization.safe_globals(safe):
            value = torch.load(path, map_location="cpu", weights_only=True, mmap=facts.mappable)
        return _plain(value)
    except Exception as error:
        raise ReleasedError(_damaged(path, error)) from error


def tensors_of(value: object, path: Path, *, key: str | None = None) -> dict[str, Tensor]:
    """Return the dict of tensors in a file, under `key` if given.

    Raises: ReleasedError: when there is no such dict.
    """
    if key is not None:
        if not isinstance(value, dict) or key not in value:
            raise ReleasedError(f"{path}: {key!r} is missing; {_describe(value)}")
        value = value[key]
    if not isinstance(value, dict) or not value:
        raise ReleasedError(
            f"{path}: {key or 'content'} must be a dict of tensors; {_describe(value)}"
        )
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            full = f"{key}.{name}" if key else name
            raise ReleasedError(f"{path}: {full} must be a tensor, found {type(tensor).__name__}")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises: ReleasedError: when the file is missing or is not a JSON object.
    """
    try:
        value = json.loads(_text(path))
    except ValueError as error:
        raise ReleasedError(f"{path}: invalid JSON: {error}") from error
    return _object(value, path)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of plain values and resolve references like ${a.b}.

    Raises: ReleasedError: when the file is missing or is not such a mapping.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ReleasedError(
            f"{path}: reading it needs PyYAML; `pip install 'visavis-server[worker]'`"
        ) from error
    try:
        value = _object(yaml.safe_load(_text(path)), path)
        return {name: _resolved(part, value, 0) for name, part in value.items()}
    except (yaml.YAMLError, RecursionError) as error:
        message = " ".join(str(error).split())
        raise ReleasedError(f"{path}: invalid YAML: {message}") from error


def _resolved(part: Any, root: Mapping[str, Any], depth: int) -> Any:
    """Resolve OmegaConf references to other values of the same file."""
    if depth > MAX_DEPTH:
        raise RecursionError("circular or too deeply nested references")
    if isinstance(part, dict):
        return {name: _resolved(value, root, depth + 1) for name, value in part.items()}
    if isinstance(part, list):
        return [_resolved(value, root, depth + 1) for value in part]
    reference = re.fullmatch(r"\$\{([\w.]+)\}", part) if isinstance(part, str) else None
    if reference is None:
        return part
    target: Any = root
    for name in reference[1].split("."):
        if not isinstance(target, dict) or name not in target:
            return part  # the target is in another file, and the value may be unused
        target = target[name]
    return _resolved(target, root, depth + 1)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_TEXT:
            raise ReleasedError(f"{path}: larger than {MAX_TEXT >> 20} MB; is it the right file?")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReleasedError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ReleasedError(f"{path}: not a text file: {error}") from error


def _object(value: object, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ReleasedError(f"{path}: must be a mapping, found {type(value).__name__}")
    return value


@dataclass(frozen=True)
class _Inspection:
    """Facts about a torch file, found without loading it."""

    names: set[str]  # imported by its pickles, as module.name
    mappable: bool  # True if tensors can be memory-mapped


def _inspect(path: Path) -> _Inspection:
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start == ZIP:
            return _inspect_zip(path)
        if start[:1] != LEGACY:
            raise ReleasedError(f"{path}: not a torch file; download it again")
        return _Inspection(_names_in_stream(file, path), mappable=False)


def _inspect_zip(path: Path) -> _Inspection:
    if not zipfile.is_zipfile(path):
        raise ReleasedError(f"{path}: truncated; download it again")
    with zipfile.ZipFile(path) as archive:
        files = archive.infolist()
        pickles = [each for each in files if each.filename.endswith("data.pkl")]
        if len(pickles) != 1 or any("constants.pkl" in each.filename for each in files):
            raise ReleasedError(f"{path}: not a file of torch.save; download it again")
        if pickles[0].file_size > MAX_PICKLE:
            raise ReleasedError(
                f"{path}: pickle of {pickles[0].file_size} bytes; at most {MAX_PICKLE} are read"
            )
        names = set(_imported_names(io.BytesIO(archive.read(pickles[0]))))
        return _Inspection(names, all(each.compress_type == zipfile.ZIP_STORED for each in files))


def _names_in_stream(file: IO[bytes], path: Path) -> set[str]:
    magic = [value for operation, value, _ in pickletools.genops(file) if operation.name == "LONG1"]
    if magic != [LEGACY_MAGIC]:
        raise ReleasedError(f"{path}: a pickle, but not of torch.save; it was not loaded")
    return {name for _ in range(LEGACY_PICKLES - 1) for name in _imported_names(file)}


def _imported_names(file: IO[bytes]) -> Iterator[str]:
    """Names imported by one pickle, all by GLOBAL: the torch unpickler supports no other opcode."""
    for operation, value, _ in pickletools.genops(file):
        if operation.name == "GLOBAL":
            module, _, name = str(value).partition(" ")
            yield f"{module.replace('__builtin__', 'builtins')}.{name}"
        elif operation.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX"):
            raise ValueError(f"unsupported opcode {operation.name}")


def _plain(value: Any, depth: int = 0) -> Any:
    """Replace stand-ins of arrays by arrays, in dicts and lists."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, _Array):
        return value.numpy()
    if type(value) is list and any(isinstance(each, (_Array, dict, list)) for each in value):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each, depth + 1) for key, each in value.items()}
    return value


def _damaged(path: Path, error: Exception) -> str:
    message = " ".join(str(error).split())[:160] or type(error).__name__
    return f"{path}: damaged or not a torch file ({message}); download it again"


def _describe(value: object) -> str:
    if isinstance(value, dict):
        return f"found {', '.join(map(str, list(value)[:5])) or 'nothing'}"
    return f"found {type(value).__name__}"
