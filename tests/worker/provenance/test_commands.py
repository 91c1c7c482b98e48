"""Every command and every job signs what it writes, and refuses uses beyond a consent."""

import json
import shutil
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch

from cli.main import app
from contracts.outputs import OUTPUTS, SIDECAR_SUFFIX, VIDEO, output_kinds, video_formats
from contracts.provenance import ManifestState
from jobs.database import Database
from jobs.sandbox.manifests import facts_of
from jobs.settings import Settings
from models.animation.npz import write_npz
from models.avatar.blendshape.kind import load_blendshape_avatar
from models.formats.results import write_results
from tests.audio_clips import write_clip
from tests.cli.commands.test_bulk import own_process
from tests.cli.conftest import Call, cache, call, people
from tests.models.animation.conftest import motion_of
from tests.training.scenes import write_scene
from tests.worker.conftest import Submit
from tests.worker.fakes import InMemoryStorage
from tests.worker.pipeline.test_dataset_render import results
from worker.pipeline.media.watermark import watermark_of
from worker.pipeline.recording_outputs import Resources
from worker.process.job import JobContext, run
from worker.provenance.detect import examine

__all__ = ["cache", "call", "own_process", "people"]  # fixtures

KINDS = ",".join(output_kinds())
# Commands that write no outputs of a take: servers, people, copies of recordings, upkeep.
OTHERS = {
    "api", "backup", "convert-audio", "create-bucket", "detect", "doctor", "download-person",
    "export-person", "import-person", "install-people", "maintain", "migrate", "openapi", "restore",
    "up", "webhook-secret", "worker",
}  # fmt: skip
VIDEO_COMMANDS = ("generate", "bulk", "job", "render-dataset", "render-results")
LICENSED = {"kind": "licence", "licence": "CC BY-NC 4.0", "uses": ["non-commercial"]}
ENDED = {"kind": "given", "given_by": "x", "until": "2020-01-01", "uses": ["commercial"]}


class Workplace:
    """A folder with a recording, recorded and sampled motion; each command writes into `out`."""

    def __init__(self, folder: Path, people: Path, call: Call) -> None:
        self.folder, self.people, self.call = folder, people, call
        self.settings = Settings(data=folder / "data", people=people, device="cpu")
        self.settings.data.mkdir(exist_ok=True)
        self.out = folder / "out"
        self.out.mkdir(exist_ok=True)
        write_clip(folder / "talk.wav", seconds=0.2)
        write_scene(folder / "scenes", "a", 4)
        write_results(folder / "results.npz", results(repetitions=1))
        avatar = load_blendshape_avatar(people / "demo", device=torch.device("cpu"))
        figure = avatar.figure("demo")
        write_npz(folder / "motion.npz", figure, motion_of(figure, 4), person="demo", seed=5)

    def run(self, command: str, *options: str, person: str = "demo", **environment: str) -> Any:
        """Run a command in this process."""
        named = options[1] if options[:1] == ("--format",) else ""
        suffix = OUTPUTS[named].suffix if named in OUTPUTS.by_name else ".mp4"
        given = {
            "generate": ("talk.wav", "--seed", "3", "--out", f"out/talk{suffix}"),
            "bulk": ("talk.wa[v]", "--seed", "3", "--out", "out"),
            "render-dataset": ("scenes", "--out", "out"),
            "render-results": ("results.npz", "--out", "out"),
            "export": ("motion.npz", "--out", "out/motion.bvh", "--format", "bvh"),
        }[command]
        arguments = [command, *given, "--person", person, *options]
        return self.call(*arguments, VISAVIS_PEOPLE=str(self.people), **environment)

    def reports(self) -> dict[str, Any]:
        """Examine every file of `out` as `detect` does; sidecars go with their files."""
        facts = facts_of(self.settings)
        found = {}
        for path in sorted(self.out.rglob("*")):
            if path.is_dir() or path.name in ("result.json", "results.jsonl", "rendering.json"):
                continue
            if path.suffix == SIDECAR_SUFFIX:
                assert path.with_suffix("").is_file()
                continue
            sidecar = path.with_name(path.name + SIDECAR_SUFFIX)
            found[path.name] = examine(path, sidecar if sidecar.is_file() else None, facts)
        return found


@pytest.fixture
def place(call: Call, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    def stand_in(path: Path, figure: object, rows: object) -> None:  # needs a human skeleton
        path.write_bytes(b"glTF" * 200)

    monkeypatch.setattr("models.animation.gltf.vrma.write_vrma", stand_in)
    return Workplace(tmp_path, people, call)


def run_job(
    place: Workplace, database: Database, storage: InMemoryStorage, submit: Submit, **fields: Any
) -> str:
    """Run a job by the worker's pipeline; return the watermark that the row would have."""
    clip = (place.folder / "talk.wav").read_bytes()
    submit(seconds=0.2, clip=clip, **{"seed": 3, "person": "demo"} | fields)
    job = database.attempts.claim("tester")
    assert job is not None
    (place.folder / "scratch").mkdir()
    resources, marks = Resources.open(place.settings), list[str]()

    def record_watermark(mark: str) -> bool:
        marks.append(mark)
        return True

    context = JobContext(
        files=storage,
        person_named=resources.persons.get,
        record_motion=lambda key, digest: True,
        record_warnings=lambda warnings: True,
        record_takes=lambda takes: True,
        record_outputs=lambda outputs: True,
        expect=lambda costs: None,
        encoder=resources.encoder,
        signer=resources.signer,
        use=None,
        scratch=place.folder / "scratch",
        watermark_of=lambda request, origin: watermark_of(place.settings, request, origin),
        record_watermark=record_watermark,
    )
    for output in run(job, context, lambda stage, share: None):
        (place.out / output.name).write_bytes(storage.objects[output.key])
    return marks[0]


def assert_signed(place: Workplace, names: set[str]) -> set[str]:
    """Check all files of `out`; return the outputs they were written as."""
    reports = place.reports()
    assert len(reports) >= len(names)
    for name, report in reports.items():
        found = report.manifest
        assert (found.state, found.trusted) == (ManifestState.VALID, True), (name, found.reasons)
        assert found.claims["source_type"].endswith("/trainedAlgorithmicMedia")
        assert found.claims["consent"]["kind"] == "synthetic"
        frames = OUTPUTS[found.claims["output"]].frames
        assert ("watermark" in found.claims) == frames
    return {report.manifest.claims["output"] for report in reports.values()}


def test_each_command_is_in_the_matrix() -> None:
    names = {each.name or each.callback.__name__ for each in app.registered_commands}

    assert names == OTHERS | set(VIDEO_COMMANDS) - {"job"} | {"export"}


@pytest.mark.parametrize(
    ("command", "format"),
    list(zip(cycle(VIDEO_COMMANDS[2:] + VIDEO_COMMANDS[:2]), video_formats())),
)
def test_each_video_format_is_signed(
    place: Workplace,
    database: Database,
    storage: InMemoryStorage,
    submit: Submit,
    command: str,
    format: str,
) -> None:
    if command == "job":
        run_job(place, database, storage, submit, format=format)
    else:
        done = place.run(command, "--format", format)
        assert done.exit_code == 0, done.output

    assert assert_signed(place, {format}) == {format}


def test_equal_requests_have_equal_watermarks_and_all_kinds_of_result_are_signed(
    place: Workplace, database: Database, storage: InMemoryStorage, submit: Submit
) -> None:
    marks = [run_job(place, database, storage, submit, outputs=output_kinds())]
    expected = {each.name for each in OUTPUTS if each.kind != VIDEO} | {"mp4"}
    assert assert_signed(place, expected) == expected
    for command in ("generate", "bulk"):
        shutil.rmtree(place.out)
        place.out.mkdir()

        done = place.run(command, "--outputs", KINDS)

        assert done.exit_code == 0, done.output
        assert assert_signed(place, expected) == expected
        reports = place.reports().values()
        marks += {one for each in reports if (one := each.manifest.claims.get("watermark"))}
    row = json.loads((place.out / "results.jsonl").read_text())
    assert marks == [row["watermark"]] * 3


def test_exported_motion_is_signed(place: Workplace) -> None:
    kinds = [each.kind for each in OUTPUTS if not each.frames and each.name != "bvh"]

    done = place.run("export", "--format", ",".join(["bvh", *kinds]))

    assert done.exit_code == 0, done.output
    assert assert_signed(place, {"bvh", *kinds}) == {"bvh", *kinds}


@pytest.mark.parametrize("command", [*(each for each in VIDEO_COMMANDS if each != "job"), "export"])
def test_a_use_beyond_the_consent_is_one_sentence(place: Workplace, command: str) -> None:
    for name, consent in (("licensed", LICENSED), ("ended", ENDED)):
        person = place.folder / "people" / name
        shutil.copytree(place.people / "demo", person)
        facts = json.loads((person / "person.json").read_text())
        (person / "person.json").write_text(json.dumps(facts | {"name": name, "consent": consent}))
    place.people = place.folder / "people"

    commercial = place.run(command, "--use", "commercial", person="licensed")
    service = place.run(command, person="licensed", VISAVIS_USE="commercial")
    ended = place.run(command, person="ended")

    for done in (commercial, service, ended):
        assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1), done.output
    covers = "the licence of 'licensed', CC BY-NC 4.0, does not cover commercial use"
    assert covers in commercial.stderr and covers in service.stderr
    assert "the consent of 'ended' ended on 2020-01-01" in ended.stderr
    assert not place.reports()
