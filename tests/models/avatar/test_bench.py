"""Benchmark of the renderers: it runs, and its printed table matches its JSON file."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from bench import avatar as bench
from models import checkpoint
from models.avatar.camera import write_cameras
from tests.models.avatar.codec.tiny import tiny_cameras, tiny_released


def test_the_blendshape_benchmark_measures_every_method_and_prints_what_it_writes(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    out = tmp_path / "avatar.json"
    threads = torch.get_num_threads()
    options = ["--sizes", "64x64", "96x64", "--frames", "2", "--person", tiny_folder, "--json", out]
    try:
        bench.run(parser.parse_args([str(option) for option in options]))
    finally:
        torch.set_num_threads(threads)
    facts = json.loads(out.read_text())
    assert facts["machine"]["cores"] > 0
    reports = facts["sizes"]
    printed = capsys.readouterr().out
    assert [report["size"] for report in reports] == ["64x64", "96x64"]
    for report in reports:
        plain, *kernels = report["methods"]
        assert plain["times_plain"] == 1
        assert len(kernels) == 4
        assert all(row["frames_per_second"] > 0 and row["name"] in printed for row in kernels)
        costs = report["shadings_cpu_milliseconds"]
        assert report["full_to_fast"] == pytest.approx(costs["full"] / costs["fast"])
        assert f"{report['full_to_fast']:.2f}" in printed
        assert {"skin", "draw_faces", "light_rows", "full: finish"} <= set(
            report["stages_cpu_milliseconds"]
        )
        assert report["peak_megabytes"] > 0


def test_the_codec_benchmark_compares_the_fast_path_with_the_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tiny_released()
    checkpoint.write(tmp_path / "avatar.safetensors", asdict(made.config), made.weights)
    write_cameras(tmp_path / "cameras.json", tiny_cameras())
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    out = tmp_path / "avatar.json"
    threads = torch.get_num_threads()
    options = ["--kind", "codec", "--frames", "3", "--person", tmp_path, "--json", out]
    try:
        bench.run(parser.parse_args([str(option) for option in options]))
    finally:
        torch.set_num_threads(threads)
    (report,) = json.loads(out.read_text())["sizes"]
    printed = capsys.readouterr().out
    assert report["size"] == "2 views of 64x96"
    for method in (report["fast"], report["plain"]):
        assert method["cpu_seconds"] > 0
        assert all(stage in printed for stage in method["stages"])
    assert "body code" in report["plain"]["stages"]
    assert "body code" not in report["fast"]["stages"]
