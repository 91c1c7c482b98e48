"""Checkpoints: round trips, atomic writes, and errors for files that do not match."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models import checkpoint
from models.checkpoint import CheckpointError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Size:
    width: int

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "person" / "face.safetensors"


def test_config_and_weights_survive_a_round_trip(path: Path) -> None:
    weights = {"a.weight": torch.randn(3, 2), "count": torch.tensor([7])}
    checkpoint.write(path, {"width": 3, "layers": [[1, 2]]}, weights)
    config, read = checkpoint.read(path, device=CPU)
    assert config == {"width": 3, "layers": [[1, 2]]}
    assert read.keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(read[name], value)
        assert read[name].dtype == value.dtype


def test_weights_stored_in_half_precision_are_read_in_single_precision(path: Path) -> None:
    weights = {"a": torch.tensor([1 / 3, 1000.0]), "whole": torch.tensor([1 << 40])}
    checkpoint.write(path, {}, weights, dtype=torch.float16)
    _, read = checkpoint.read(path, device=CPU)
    assert read["a"].dtype == torch.float32
    assert torch.equal(read["a"], weights["a"].half().float())
    assert torch.equal(read["whole"], weights["whole"])
    assert path.stat().st_size < 8 + 300


def test_the_same_weights_give_the_same_bytes(path: Path) -> None:
    written = set()
    for _ in range(8):
        checkpoint.write(path, {"b": 1, "a": 2}, {"x": torch.ones(2), "a": torch.zeros(3)})
        written.add(path.read_bytes())
    assert len(written) == 1


def test_weights_with_strides_are_written_correctly(path: Path) -> None:
    wide = torch.randn(4, 6)
    checkpoint.write(path, {}, {"transposed": wide.T, "strided": wide[:, ::2]})
    _, read = checkpoint.read(path, device=CPU)
    assert torch.equal(read["transposed"], wide.T)
    assert torch.equal(read["strided"], wide[:, ::2])


def test_every_user_may_read_a_checkpoint(path: Path) -> None:
    checkpoint.write(path, {}, {"a": torch.zeros(1)})
    assert path.stat().st_mode & 0o777 == 0o644


def test_writing_leaves_no_temporary_file(path: Path) -> None:
    for _ in range(2):
        checkpoint.write(path, {}, {"a": torch.zeros(1)})
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(path: Path) -> None:
    checkpoint.write(path, {"version": 1}, {"a": torch.zeros(2)})
    shared = torch.ones(4)
    with pytest.raises(RuntimeError, match="share"):
        checkpoint.write(path, {"version": 2}, {"a": shared, "b": shared})
    assert list(path.parent.iterdir()) == [path]
    assert checkpoint.read(path, device=CPU)[0] == {"version": 1}


def test_an_open_reader_continues_with_the_old_file(path: Path) -> None:
    checkpoint.write(path, {"version": 1}, {"a": torch.zeros(2)})
    old = path.read_bytes()
    with path.open("rb") as reader:
        checkpoint.write(path, {"version": 2}, {"a": torch.ones(2)})
        assert reader.read() == old
    assert path.read_bytes() != old


def test_the_error_for_a_missing_file_names_it(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"face\.safetensors: weights not found"):
        checkpoint.read(path, device=CPU)


@pytest.mark.parametrize("length", [0, 4, 40, 200])
def test_a_truncated_file_is_reported_as_damaged(path: Path, length: int) -> None:
    checkpoint.write(path, {"width": 3}, {"a": torch.randn(100)})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"face\.safetensors: damaged .*copy the person"):
        checkpoint.read(path, device=CPU)


def test_a_file_of_another_format_is_reported_as_damaged(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("<html>404</html>" * 20)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(path, device=CPU)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"config": "[1]"}])
def test_a_file_without_a_config_is_refused(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a", metadata)
    with pytest.raises(CheckpointError, match="config not found"):
        checkpoint.read(tmp_path / "a", device=CPU)


def test_a_config_with_invalid_json_is_reported_as_damaged(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a", {"config": "{"})
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(tmp_path / "a", device=CPU)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"depth": 1}, "depth"), ({}, "width"), ({"width": 0}, "width must be at least 1, got 0")],
)
def test_a_config_with_other_fields_or_invalid_values_is_refused(
    path: Path, values: dict[str, int], message: str
) -> None:
    with pytest.raises(CheckpointError, match=rf"face\.safetensors: invalid config: .*{message}"):
        checkpoint.config_of(Size, values, path)


def test_a_restored_network_has_its_weights_and_is_frozen(path: Path) -> None:
    weights = nn.Linear(2, 3).state_dict()
    network = checkpoint.restore(nn.Linear(2, 3), weights, path)
    assert torch.equal(network.weight, weights["weight"])
    assert not network.training
    assert not any(value.requires_grad for value in network.parameters())


def test_the_error_names_missing_and_unknown_weights(path: Path) -> None:
    weights = {"weight": torch.zeros(3, 2), "scale": torch.zeros(3)}
    message = r"face\.safetensors: weights do not match Linear: missing bias, unknown scale"
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore(nn.Linear(2, 3), weights, path)


def test_the_error_names_three_of_many_missing_weights(path: Path) -> None:
    network = nn.Sequential(*(nn.Linear(1, 1) for _ in range(4)))
    message = r"missing 0\.bias, 0\.weight, 1\.bias and 5 more, unknown none"
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore(network, {}, path)


def test_the_error_for_another_shape_gives_both_shapes(path: Path) -> None:
    weights = {"weight": torch.zeros(3, 5), "bias": torch.zeros(3)}
    message = r"face\.safetensors: weight must be \[3, 2\], found \[3, 5\]"
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore(nn.Linear(2, 3), weights, path)


def test_the_config_can_be_read_from_the_header_without_this_project(path: Path) -> None:
    checkpoint.write(path, {"b": 1, "a": 2}, {"a": torch.zeros(1)})
    header = json.loads(path.read_bytes()[8:].split(b"}}")[0] + b"}}")
    assert header["__metadata__"] == {"config": '{"a": 2, "b": 1}'}


def test_weights_in_memory_do_not_change_with_their_file(path: Path) -> None:
    weights = {"a.weight": torch.arange(100_000.0)}
    checkpoint.write(path, {}, weights)
    _, read = checkpoint.read(path, device=CPU)

    path.write_bytes(bytes(1000))  # copied over in place: shorter, and another content

    assert torch.equal(read["a.weight"], weights["a.weight"])
