"""Toy video format: raw frames as a numpy array, without audio."""

from contracts.outputs import VIDEO, Output


def write(take, path):
    import numpy as np

    with take.frames() as batches, path.open("wb") as file:
        np.save(file, np.concatenate(list(batches)))
    take.frames_written(take.motion.frames)


OUTPUT = Output(
    name="frames",
    suffix=".npy",
    content_type="application/x-npy",
    description="raw frames",
    write=write,
    kind=VIDEO,
    stem="take",
    alpha=True,
    frames=True,
)
