"""The benchmark of one job runs whole, and the page is made from its report."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.__main__ import parser
from bench.performance import job, stages
from bench.performance.counting import counted
from bench.performance.machine import this_machine
from bench.performance.page import CURVES, MEASURES, page, read_reports, run
from contracts.errors import InputError
from tests.audio_clips import write_clip
from tests.tiny_person import write_tiny_person

DOCS = Path(__file__).parents[3] / "docs"
STAGES = ("start", "load", "decode", "motion", "render", "encode", "publish")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON report of a tiny job."""
    folder = tmp_path_factory.mktemp("job")
    person = write_tiny_person(folder / "people")
    clip = write_clip(folder / "talk.wav", seconds=0.5)
    options = ["--clip", clip, "--person", person, "--size", "64x64", "--repeats", "1"]
    options += ["--threads", "1", "--seconds", "4", "--takes", "1", "2", "--steps", "2"]
    options += ["--json", folder / "job.json"]
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "IMPORTS", "pass")  # torch takes seconds
        patch.setattr(job, "BATCHES", (1, 4))
        patch.setattr(job, "rates_of", lambda device: job.Rates(10.0, 5.0))
        job.run(parser().parse_args(["job", *map(str, options)]))
    torch.set_num_threads(threads)
    content: dict[str, Any] = json.loads((folder / "job.json").read_text())
    return content


def test_every_stage_and_every_quality_is_measured(report: dict[str, Any]) -> None:
    assert [stage["name"] for stage in report["stages"]] == list(STAGES)
    paired = [stage["name"] for stage in report["stages"] if stage["plain"]["cpu"]]
    assert paired == ["motion", "render", "encode"]
    for stage in report["stages"]:
        assert min(stage["ours"]["wall"]) > 0, stage
    assert [each["name"] for each in report["jobs"]] == ["standard", "draft", "50 steps of DDIM"]
    assert {each["frames"] for each in report["jobs"]} == {15}
    assert report["peak_megabytes"] > 50
    assert report["machine"]["packages"]["torch"] == torch.__version__
    assert set(report["curves"]) == set(CURVES)
    motion, *_ = report["floors"]
    assert motion["counted"]["gflop"] > 0
    assert motion["counted"]["megabytes"] > 0


def test_operations_and_bytes_are_counted() -> None:
    left, right = torch.ones(8, 4), torch.ones(4, 16)

    work = counted(lambda: (left @ right).view(-1).add_(1))

    assert work.gflop == pytest.approx(2 * 8 * 4 * 16 / 1e9)
    product, added = (8 * 4 + 4 * 16 + 8 * 16) * 4, 2 * 8 * 16 * 4
    assert work.megabytes == pytest.approx((product + added) / 1e6)
    assert work.operations == 2


def test_the_page_has_every_section_table_and_plot(report: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "performance").mkdir()
    for name, facts in reports_beside(report).items():
        (tmp_path / "performance" / f"{name}.json").write_text(json.dumps(facts))

    run(parser().parse_args(["page", str(tmp_path)]))

    check_page(tmp_path / "performance.md")
    assert all(stage in (tmp_path / "performance.md").read_text() for stage in STAGES)


def test_a_missing_report_is_named_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"motion\.json: missing; make it with `python -m bench m"):
        read_reports(tmp_path)


@pytest.mark.skipif(not (DOCS / "performance").exists(), reason="`make performance` has not run")
def test_the_committed_page_is_that_of_the_committed_reports() -> None:
    document = DOCS / "performance.md"

    check_page(document)
    assert document.read_text() == page(read_reports(DOCS / "performance"))


def check_page(document: Path) -> None:
    """Check headings, tables and pictures of a page."""
    text = document.read_text()
    assert re.findall("^## ([A-Z][a-z]+)", text, re.M) == [
        "One", "Motion", "Renderer", "Queue", "Training",
    ]  # fmt: skip
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) >= len(CURVES) + 7
    for table in tables:
        assert len({line.count("|") for line in table}) == 1, table
        assert len(table) > 2, table
    assert not re.search(r"\b(nan|inf|None)\b", text)
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", text)
    assert len(pictures) == len(CURVES)
    for name in pictures:
        content = (document.parent / name).read_bytes()
        assert content[8:12] == b"WEBP"
        assert len(content) < 30_000


def reports_beside(job_report: dict[str, Any]) -> dict[str, Any]:
    """Reports of all benchmarks, with invented figures for all but the job."""
    machine = asdict(this_machine())
    cost = {"cpu": 1.0, "wall": 1.0}
    row = {"part": "face", "unit": "step", "seconds": 4.0, "ours": cost, "plain": cost}
    row |= {"times": 1.0, "times_in_all": 1.0, "batch": 1, "frames": 600}
    method = {"name": "kernels", "milliseconds": 1.0, "cpu_milliseconds": 1.0}
    method |= {"frames_per_second": 1.0, "times_plain": 1.0}
    size = {"size": "64x64", "methods": [method], "peak_megabytes": 1}
    size |= {"stages_cpu_milliseconds": {"skin": 1.0}}
    rate = {"operation": "claims", "server": "sqlite", "processes": 1, "rate": 1.0}
    common = {"machine": machine, "seed": 1}
    rows = common | {"threads": 1, "rows": [row]}
    sizes, rates = common | {"sizes": [size]}, {"machine": machine, "rates": [rate]}
    reports = (rows, sizes, job_report, rates, rows)
    return dict(zip(MEASURES, reports, strict=True))
