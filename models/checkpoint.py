"""Checkpoints: a config and weights in one safetensors file, written atomically, read strictly."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from contracts.errors import InputError
from contracts.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    Config = TypeVar("Config")
    Network = TypeVar("Network", bound=nn.Module)

BACKEND = "pread"  # with mapped memory, a file that is cut while it is copied ends the process


class CheckpointError(InputError):
    """Missing or damaged checkpoint, or a checkpoint of another network."""


def write(
    path: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a checkpoint atomically: readers see the old file or the new one.

    dtype: stored type of floating-point weights; `read` returns float32.
    """
    stored = {
        name: value.detach().cpu().to(dtype if value.is_floating_point() else value.dtype)
        for name, value in weights.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # Only one entry: safetensors writes several in random order, and the file of the same weights
    # would have another hash each time.
    metadata = {"config": json.dumps(config, sort_keys=True)}
    with write_atomically(path) as draft:
        save_file({name: value.contiguous() for name, value in stored.items()}, draft, metadata)
        draft.chmod(0o644)  # safetensors creates files that only their owner can read


def read(path: Path, *, device: torch.device) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read config and weights; floating-point weights are converted to float32.

    Raises: CheckpointError: when the file is missing, damaged or without a config.
    """
    with _opened(path, str(device)) as file:
        config = _config(file, path)
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return config, {
        name: value.float() if value.is_floating_point() else value
        for name, value in weights.items()
    }


def read_config(path: Path) -> dict[str, Any]:
    """Read the config without the weights.

    Raises: CheckpointError: when the file is missing, damaged or without a config.
    """
    with _opened(path, "cpu") as file:
        return _config(file, path)


def stored_dtype(path: Path) -> torch.dtype:
    """Return the type in which the first floating-point weights of a checkpoint are stored.

    Raises: CheckpointError: when the file is missing or damaged.
    """
    with _opened(path, "cpu") as file:
        types = (file.get_tensor(name).dtype for name in file.keys())  # noqa: SIM118
        return next((dtype for dtype in types if dtype.is_floating_point), torch.float32)


@contextmanager
def _opened(path: Path, device: str) -> Iterator[Any]:
    if not path.is_file():
        where = f"a link to {path.readlink()}, which is" if path.is_symlink() else "weights"
        raise CheckpointError(f"{path}: {where} not found; copy the whole person directory")
    try:
        with safe_open(path, framework="pt", device=device, backend=BACKEND) as file:
            yield file
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path}: damaged ({error}); copy the person directory again"
        ) from error


def _config(file: Any, path: Path) -> dict[str, Any]:
    config = json.loads((file.metadata() or {}).get("config", "null"))
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: config not found; the file was not written by visavis")
    return config


def config_of(make: Callable[..., Config], values: Mapping[str, Any], path: Path) -> Config:
    """Make a config from the values in a file.

    Raises: CheckpointError: when a field is unknown or missing, or a value is invalid.
    """
    try:
        return make(**values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: invalid config: {error}") from error


def restore(network: Network, weights: Mapping[str, Tensor], path: Path) -> Network:
    """Load weights into a network and prepare it for inference.

    Raises: CheckpointError: when a name or a shape does not match the network.
    """
    expected = network.state_dict()
    missing, unknown = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    if missing or unknown:
        raise CheckpointError(
            f"{path}: weights do not match {type(network).__name__}: missing {_listed(missing)}, "
            f"unknown {_listed(unknown)}"
        )
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: {name} must be {list(expected[name].shape)}, found {list(value.shape)}"
            )
    network.load_state_dict(weights)
    return network.eval().requires_grad_(requires_grad=False)


def _listed(names: set[str]) -> str:
    ordered = sorted(names)
    rest = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(ordered[:3]) + rest if ordered else "none"
