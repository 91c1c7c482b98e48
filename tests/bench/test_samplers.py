"""Table of samplers, with a tiny person and random recordings; no time is asserted."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import parser
from bench.sampling.samplers import Bench, Choice, Clip, measure, table
from bench.timing import as_json
from contracts.errors import InputError
from contracts.person import FINISHING
from models.finishing.rig import load_rig
from tests.tiny_person import write_tiny_person


def clip(seed: int) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(
        (0.1 * rng.standard_normal((24_000, 2))).astype(np.float32),
        (0.5 * rng.standard_normal((15, 256))).astype(np.float32),
        (0.02 * rng.standard_normal((15, 104))).astype(np.float32),
    )


def test_a_sampler_of_more_steps_is_nearer_to_the_reference(tmp_path: Path) -> None:
    person = write_tiny_person(tmp_path)
    choices = [Choice("ddim", 2), Choice("ddim", 50), Choice("ddim", 50, 900)]

    report = measure(person, [clip(1), clip(2)], choices, 2, reference=Choice("ddim", 100))

    reference, coarse, fine, unguided = report.rows
    assert (reference.face, reference.body, reference.jerk) == (0, 0, 1)
    assert coarse.jerk != 1 != fine.jerk
    assert all(row.finished_jerk == row.jerk for row in report.rows)  # nothing is finished
    assert all(min(row.lips, row.fd_face, row.fd_body) > 0 for row in report.rows)
    assert len({row.lips for row in report.rows}) == len(report.rows)
    assert all(-1 <= row.jaw_correlation <= 1 for row in report.rows)
    assert fine.face < coarse.face
    assert fine.body < coarse.body
    assert unguided.face > fine.face
    assert all(row.cpu > 0 for row in report.rows)
    assert all(f"| {row.sampler} | {row.steps} |" in table(report) for row in report.rows)
    assert json.loads(as_json(report))["rows"][1]["steps"] == 2


def test_sampled_motion_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person, cache = write_tiny_person(tmp_path), tmp_path / "motion"
    choices, reference = [Choice("unipc", 2)], Choice("ddim", 4)
    first = measure(person, [clip(1)], choices, 1, reference=reference, cache=cache)

    def refuse(*_: object) -> None:
        raise AssertionError("motion that is kept is sampled again")

    monkeypatch.setattr(Bench, "_take", refuse)
    again = measure(person, [clip(1)], choices, 1, reference=reference, cache=cache)
    assert again.rows == first.rows
    with pytest.raises(AssertionError, match="kept"):
        measure(person, [clip(2)], choices, 1, reference=reference, cache=cache)


def test_motion_is_measured_as_finished(tmp_path: Path) -> None:
    """Finishing smooths the pose, and takes that are kept stay valid."""
    person, cache = write_tiny_person(tmp_path), tmp_path / "motion"
    choices, reference = [Choice("unipc", 2)], Choice("ddim", 4)
    measure(person, [clip(1)], choices, 1, reference=reference, cache=cache)
    kept = len(list(cache.iterdir()))
    parameters = load_rig(person / "avatar.safetensors").parameters
    steps = {"smoothing": {name.rsplit("_", 1)[0]: 1.0 for name in parameters}}
    (person / FINISHING).write_text(json.dumps({"steps": steps}), encoding="utf-8")

    report = measure(person, [clip(1)], choices, 1, reference=reference, cache=cache)

    assert len(list(cache.iterdir())) == kept
    assert all(row.finished_speed < 0.9 * row.body_speed for row in report.rows)
    assert report.rows[0].finished_jerk == 1 != report.rows[1].finished_jerk
    assert "| finished |" in table(report)


def test_options_select_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["--rows", "ddim:50", "unipc:8:200"]
    arguments = parser().parse_args(["samplers", "--data", "x", *rows])
    assert arguments.rows == [Choice("ddim", 50), Choice("unipc", 8, 200)]
    assert arguments.reference == Choice("ddim", 500)
    with pytest.raises(SystemExit):
        parser().parse_args(["samplers", "--data", "x", "--rows", "euler:50"])
    assert "euler:50" in capsys.readouterr().err


def test_a_dataset_that_is_too_short_is_refused(tmp_path: Path) -> None:
    from bench.sampling.samplers import cut_clips
    from tests.training.scenes import write_scene

    write_scene(tmp_path, "scene", 60)
    with pytest.raises(InputError, match="0 clips of 8 s"):
        list(cut_clips(tmp_path, 8.0, 1))
