"""The benchmark of the renderer runs, and says the same on paper and in its file."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from bench import avatar as bench


def test_it_measures_every_way_and_writes_what_it_prints(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    out = tmp_path / "avatar.json"
    threads = torch.get_num_threads()
    words = ["--sizes", "64x64", "96x64", "--frames", "2", "--person", tiny_folder, "--json", out]
    try:
        bench.run(parser.parse_args([str(word) for word in words]))
    finally:
        torch.set_num_threads(threads)
    reports = json.loads(out.read_text())
    printed = capsys.readouterr().out
    assert [report["size"] for report in reports] == ["64x64", "96x64"]
    for report in reports:
        plain, *kernels = report["ways"]
        assert plain["times_plain"] == 1
        assert len(kernels) == 4
        assert all(way["frames_per_second"] > 0 and way["way"] in printed for way in kernels)
        assert {"skin", "draw_faces", "light"} <= set(report["stages_cpu_milliseconds"])
        assert report["peak_megabytes"] > 0
