"""A worker's room on the disk goes with it, and is swept when it was killed."""

from pathlib import Path

from worker.scratch import scratch_room


def test_a_room_is_gone_at_the_end(tmp_path: Path) -> None:
    with scratch_room(tmp_path / "scratch") as room:
        (room / "half.mp4").touch()

    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_room_of_a_killed_worker_is_swept_and_that_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    dead = tmp_path / "worker-dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "sound.f32").write_bytes(bytes(100))

    with scratch_room(tmp_path) as first, scratch_room(tmp_path) as second:
        assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name}
