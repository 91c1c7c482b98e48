"""The one door of weights: what goes in comes out, and what does not fit is told."""

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


def test_config_and_weights_come_back_as_they_were(path: Path) -> None:
    weights = {"a.weight": torch.randn(3, 2), "count": torch.tensor([7])}
    checkpoint.write(path, {"width": 3, "layers": [[1, 2]]}, weights)
    config, read = checkpoint.read(path, device=CPU)
    assert config == {"width": 3, "layers": [[1, 2]]}
    assert read.keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(read[name], value)
        assert read[name].dtype == value.dtype


def test_half_precision_is_kept_and_read_as_single(path: Path) -> None:
    weights = {"a": torch.tensor([1 / 3, 1000.0]), "whole": torch.tensor([1 << 40])}
    checkpoint.write(path, {}, weights, dtype=torch.float16)
    _, read = checkpoint.read(path, device=CPU)
    assert read["a"].dtype == torch.float32
    assert torch.equal(read["a"], weights["a"].half().float())
    assert torch.equal(read["whole"], weights["whole"])
    assert path.stat().st_size < 8 + 300


def test_the_same_weights_are_the_same_bytes(path: Path) -> None:
    written = set()
    for _ in range(8):
        checkpoint.write(path, {"b": 1, "a": 2}, {"x": torch.ones(2), "a": torch.zeros(3)})
        written.add(path.read_bytes())
    assert len(written) == 1


def test_weights_that_lie_apart_in_memory_are_written_too(path: Path) -> None:
    wide = torch.randn(4, 6)
    checkpoint.write(path, {}, {"turned": wide.T, "cut": wide[:, ::2]})
    _, read = checkpoint.read(path, device=CPU)
    assert torch.equal(read["turned"], wide.T)
    assert torch.equal(read["cut"], wide[:, ::2])


def test_everybody_may_read_what_was_written(path: Path) -> None:
    checkpoint.write(path, {}, {"a": torch.zeros(1)})
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_leaves_nothing_beside_the_file(path: Path) -> None:
    for _ in range(2):
        checkpoint.write(path, {}, {"a": torch.zeros(1)})
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(path: Path) -> None:
    checkpoint.write(path, {"version": 1}, {"a": torch.zeros(2)})
    shared = torch.ones(4)
    with pytest.raises(RuntimeError, match="share"):
        checkpoint.write(path, {"version": 2}, {"a": shared, "b": shared})
    assert list(path.parent.iterdir()) == [path]
    assert checkpoint.read(path, device=CPU)[0] == {"version": 1}


def test_who_has_the_old_file_open_goes_on_reading_it(path: Path) -> None:
    checkpoint.write(path, {"version": 1}, {"a": torch.zeros(2)})
    old = path.read_bytes()
    with path.open("rb") as reader:
        checkpoint.write(path, {"version": 2}, {"a": torch.ones(2)})
        assert reader.read() == old
    assert path.read_bytes() != old


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights at .*face\.safetensors"):
        checkpoint.read(path, device=CPU)


@pytest.mark.parametrize("kept", [0, 4, 40, 200])
def test_a_file_that_was_cut_off_is_called_damaged(path: Path, kept: int) -> None:
    checkpoint.write(path, {"width": 3}, {"a": torch.randn(100)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"face\.safetensors is damaged .*copy the person"):
        checkpoint.read(path, device=CPU)


def test_a_file_of_something_else_is_called_damaged(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("<html>404</html>" * 20)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(path, device=CPU)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"config": "[1]"}])
def test_a_file_without_a_config_was_not_written_here(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a", metadata)
    with pytest.raises(CheckpointError, match="holds no config"):
        checkpoint.read(tmp_path / "a", device=CPU)


def test_a_config_that_is_no_json_is_called_damaged(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a", {"config": "{"})
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(tmp_path / "a", device=CPU)


@pytest.mark.parametrize(
    ("values", "told"),
    [({"depth": 1}, "depth"), ({}, "width"), ({"width": 0}, "width must be at least 1, got 0")],
)
def test_a_config_of_other_fields_or_bad_values_is_told(
    path: Path, values: dict[str, int], told: str
) -> None:
    with pytest.raises(CheckpointError, match=rf"face\.safetensors is not understood: .*{told}"):
        checkpoint.config_of(Size, values, path)


def test_a_network_gets_its_weights_and_stops_learning(path: Path) -> None:
    weights = nn.Linear(2, 3).state_dict()
    network = checkpoint.restore(nn.Linear(2, 3), weights, path)
    assert torch.equal(network.weight, weights["weight"])
    assert not network.training
    assert not any(value.requires_grad for value in network.parameters())


def test_missing_and_unknown_weights_are_named(path: Path) -> None:
    weights = {"weight": torch.zeros(3, 2), "scale": torch.zeros(3)}
    told = r"face\.safetensors does not fit Linear: missing bias, unknown scale"
    with pytest.raises(CheckpointError, match=told):
        checkpoint.restore(nn.Linear(2, 3), weights, path)


def test_of_many_missing_weights_three_are_named(path: Path) -> None:
    network = nn.Sequential(*(nn.Linear(1, 1) for _ in range(4)))
    told = r"missing 0\.bias, 0\.weight, 1\.bias and 5 more, unknown nothing"
    with pytest.raises(CheckpointError, match=told):
        checkpoint.restore(network, {}, path)


def test_a_weight_of_another_shape_is_named_with_both_shapes(path: Path) -> None:
    weights = {"weight": torch.zeros(3, 5), "bias": torch.zeros(3)}
    told = r"face\.safetensors: weight must be \[3, 2\], found \[3, 5\]"
    with pytest.raises(CheckpointError, match=told):
        checkpoint.restore(nn.Linear(2, 3), weights, path)


def test_the_config_is_in_the_file_for_who_looks_without_this_project(path: Path) -> None:
    checkpoint.write(path, {"b": 1, "a": 2}, {"a": torch.zeros(1)})
    header = json.loads(path.read_bytes()[8:].split(b"}}")[0] + b"}}")
    assert header["__metadata__"] == {"config": '{"a": 2, "b": 1}'}
