"""Results for tests: random motion of the right shapes."""

from dataclasses import replace

import numpy as np

from models.formats.results import Results


def random_results(
    *, repetitions: int = 2, samples: int = 3, frames: int = 60, lengths: list[int] | None = None
) -> Results:
    """Random walks; each sample is from another scene."""
    rng = np.random.default_rng(1)

    def wander(*shape: int) -> np.ndarray:
        return (0.05 * rng.normal(size=shape)).cumsum(-2).astype(np.float32)

    several = (repetitions, samples)
    return Results(
        true_face=wander(samples, frames, 256),
        true_pose=wander(samples, frames, 104),
        face_present=np.ones((samples, frames), bool),
        audio=rng.uniform(-0.5, 0.5, (samples, 1600 * frames, 2)).astype(np.float32),
        lengths=np.array(lengths or [frames] * samples),
        scenes=np.array([f"scene{n:02}" for n in range(samples)]),
        first_frames=frames * np.arange(samples),
        seeds=np.arange(repetitions * samples).reshape(several),
        sampling_seconds=2.0,
        options={"person": "ada", "steps": 2},
        face=wander(*several, frames, 256),
        pose=wander(*several, frames, 104),
        key_poses=wander(*several, -(-frames // 30), 104),
    )


def perfect(**sizes: int) -> Results:
    """Results in which every repetition equals the truth."""
    results = random_results(**sizes)
    again = (results.repetitions, 1, 1, 1)
    return replace(
        results,
        face=np.tile(results.true_face, again),
        pose=np.tile(results.true_pose, again),
    )
