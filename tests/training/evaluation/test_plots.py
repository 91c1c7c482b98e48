"""Plots of results: the files exist and are not empty."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contracts.errors import InputError
from tests.tiny_person import write_tiny_person
from tests.training.results import random_results
from training.evaluation.joints import joint_columns, joint_groups
from training.evaluation.plots import write_plots


def test_all_sampled_motion_is_plotted(tmp_path: Path) -> None:
    person = write_tiny_person(tmp_path)
    written = write_plots(random_results(samples=2), person, tmp_path / "plots")
    names = [path.name for path in written]
    assert names == ["speed.png", "spread.png", "beats.png", "takes.png", "lips.png"]
    for path in written:
        picture = np.asarray(Image.open(path).convert("L"))
        assert (picture < 128).mean() > 0.002, path.name
        assert picture.shape[1] == 1200


def test_a_face_alone_has_a_plot_of_lips(tmp_path: Path) -> None:
    results = replace(random_results(samples=1), pose=None, key_poses=None)
    written = write_plots(results, write_tiny_person(tmp_path), tmp_path)
    assert [path.name for path in written] == ["lips.png"]


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"visavis-server\[plots\]"):
        write_plots(random_results(), tmp_path, tmp_path)


def test_columns_without_names_are_grouped_in_runs_after_the_place() -> None:
    groups = joint_groups(None, 104)
    columns = [column for group in groups.values() for column in group]
    assert columns == joint_columns(None, 104) == list(range(3, 104))
    assert next(iter(groups)) == "columns 3 to 15"


def test_named_columns_are_grouped_by_part_and_breath_is_not_a_joint() -> None:
    names = ("root_tx", "root_ry", "spine_mid_rx", "breath", "thumb_L_pip", "head_rx")
    assert joint_columns(names, 6) == [1, 2, 4, 5]
    assert joint_groups(names, 6) == {
        "place": [0],
        "turn of the body": [1],
        "spine": [2],
        "neck and head": [5],
        "fingers": [4],
        "breath": [3],
    }
