"""The one door of weights: {config, tensors} as safetensors, written whole, read strictly."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    Config = TypeVar("Config")
    Network = TypeVar("Network", bound=nn.Module)


class CheckpointError(ValueError):
    """A file of weights that is missing, damaged, or not of the network that is asked for."""


def write(
    path: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write beside the place, then rename: readers see the old file or the new one.

    dtype: what floating weights are kept as; they are float32 again when they are read.
    """
    kept = {
        name: value.detach().cpu().to(dtype if value.is_floating_point() else value.dtype)
        for name, value in weights.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    # One entry only: the library writes several in any order, and the same weights would have
    # another hash each time.
    metadata = {"config": json.dumps(config, sort_keys=True)}
    try:
        save_file({name: value.contiguous() for name, value in kept.items()}, draft, metadata)
        draft.chmod(0o644)  # the library makes it readable for its owner alone
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path, *, device: torch.device) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights; floating weights come as float32. CheckpointError says what is wrong."""
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; is this a whole person directory?")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            config = json.loads((file.metadata() or {}).get("config", "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); copy the person directory again"
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds no config; it was not written by this project")
    return config, {
        name: value.float() if value.is_floating_point() else value
        for name, value in weights.items()
    }


def config_of(make: Callable[..., Config], values: Mapping[str, Any], path: Path) -> Config:
    """A config from what a file says. CheckpointError for unknown fields and bad values."""
    try:
        return make(**values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the config in {path} is not understood: {error}") from error


def restore(network: Network, weights: Mapping[str, Tensor], path: Path) -> Network:
    """The network with these weights, ready to be used. CheckpointError names what does not fit."""
    wanted = network.state_dict()
    missing, unknown = wanted.keys() - weights.keys(), weights.keys() - wanted.keys()
    if missing or unknown:
        raise CheckpointError(
            f"{path} does not fit {type(network).__name__}: missing {_some(missing)}, "
            f"unknown {_some(unknown)}"
        )
    for name, value in weights.items():
        if value.shape != wanted[name].shape:
            raise CheckpointError(
                f"{path}: {name} must be {list(wanted[name].shape)}, found {list(value.shape)}"
            )
    network.load_state_dict(weights)
    return network.eval().requires_grad_(requires_grad=False)


def _some(names: set[str]) -> str:
    listed = sorted(names)
    rest = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + rest if listed else "nothing"
