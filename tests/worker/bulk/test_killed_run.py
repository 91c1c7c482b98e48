"""Runs whose worker and command are killed, with real processes; `make bulk` is the long form."""

from pathlib import Path

import pytest

from jobs.request.model import GenerateRequest
from jobs.settings import Settings
from tests.tiny_person import write_tiny_person
from tests.worker.bulk.killed_run import (
    WATERMARK_KEY,
    command,
    differences,
    environment,
    fields_of,
    found,
    run_killed,
    write_manifest,
)
from worker.pipeline.recording_outputs import Recording, Resources, make_outputs

LOCAL_CLIPS, RAY_CLIPS = 4, 2


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_person(tmp_path_factory.mktemp("people")).parent


def made_here(folder: Path, people: Path, clips: int) -> dict[tuple[int, str], bytes]:
    """Outputs of the same requests, by the pipeline in this process."""
    settings = Settings(people=people, device="cpu", threads=1, watermark_key=WATERMARK_KEY)
    resources = Resources.open(settings)
    outputs = {}
    for number in range(clips):
        target = folder / f"expected-{number}"
        target.mkdir()
        made = make_outputs(
            Recording(folder / "calls" / f"call-{number:03}.wav"),
            GenerateRequest.model_validate(fields_of(number)),
            resources,
            path_of=lambda output, take, role, target=target: target / output.file_name(take, role),
            progress=lambda stage, share: None,
        )
        outputs |= {(number, path.name): path.read_bytes() for path in made.files}
    return outputs


@pytest.mark.slow
def test_a_run_whose_worker_and_command_are_killed_makes_one_result_of_each_item(
    people: Path, tmp_path: Path
) -> None:
    manifest, out = write_manifest(tmp_path, LOCAL_CLIPS), tmp_path / "out"

    kills = run_killed(
        command(manifest, out, "local", workers=1), out, LOCAL_CLIPS, people, kills=1
    )

    assert kills[-1] < LOCAL_CLIPS, "it was killed in the middle"
    assert found(out).complete(LOCAL_CLIPS)
    expected = made_here(tmp_path, people, LOCAL_CLIPS)
    assert differences(out, lambda *name: expected[name], LOCAL_CLIPS) == []


@pytest.mark.slow
def test_a_dead_actor_of_ray_is_replaced(people: Path, tmp_path: Path) -> None:
    import psutil

    from tests.worker.bulk.killed_run import _kill_worker, _wait_for

    manifest, out = write_manifest(tmp_path, RAY_CLIPS), tmp_path / "out"
    arguments = command(manifest, out, "ray", workers=1)

    driver = psutil.Popen(arguments, env=environment(people))
    _wait_for(1, out, driver)
    _kill_worker(driver)

    assert driver.wait() == 0
    assert found(out).complete(RAY_CLIPS)
