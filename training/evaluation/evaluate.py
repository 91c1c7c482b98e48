"""Evaluation of a person's samples: the paper's metrics, lips, beats and speed, next to the truth.

docs/evaluation.md defines the metrics.
Letters: R repetitions, N samples, T frames, C channels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.audio import FRAME_RATE, SAMPLES_PER_FRAME
from training.data.voice_activity import speech_mask, while_speaking
from training.evaluation import metrics
from training.evaluation.beats import alignment, body_speed, frame_times, kinematic_beats, onsets
from training.evaluation.joints import joint_columns
from training.evaluation.lips import blendshape_of, lips_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.formats.results import Results
    from training.evaluation.lips import Lips

    Array = NDArray[np.floating[Any]]
    Table = dict[str, dict[str, "Figure"]]

PAIRS_SEED = 10  # seed of the pairs of poses of Div_g


@dataclass(frozen=True)
class Figure:
    """One metric: of the samples, of the truth if meaningful, and of a baseline without skill."""

    predicted: float
    truth: float | None = None
    no_skill: float | None = None  # baseline: a constant mouth, or beats at any time of speech
    unit: str = ""


@dataclass(frozen=True)
class Evaluation:
    """All figures in groups, and the reasons for missing groups."""

    figures: Table
    left_out: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """Convert to JSON values."""
        groups = {
            group: {name: asdict(figure) for name, figure in figures.items()}
            for group, figures in self.figures.items()
        }
        return {**groups, "left_out": self.left_out}


def evaluate(results: Results, person: Path) -> Evaluation:
    """Compute all metrics of results, over the length of the shortest sample."""
    results = shortened(results)
    figures: Table = {}
    left_out = {}
    if results.pose is not None:
        avatar = blendshape_of(person)
        names = avatar.parameter_names if avatar else None
        joints = joint_columns(names, results.pose.shape[-1])
        figures["body"] = motion_figures(results.pose, results.true_pose) | gesture_figures(
            results.pose[..., joints], results.true_pose[..., joints], results.audio
        )
    if results.face is not None:
        try:
            present = results.face_present
            figures["face"] = motion_figures(results.face, results.true_face, present)
            figures["lips"] = lip_figures(results, lips_of(person, results))
        except ValueError as error:
            left_out["lips" if "face" in figures else "face"] = str(error)
    figures["sampling"] = sampling_figures(results)
    return Evaluation(figures, left_out)


def shortened(results: Results) -> Results:
    """Cut all samples to the length of the shortest."""
    frames = int(results.lengths.min())
    if frames == results.frames:
        return results
    return replace(
        results,
        true_face=results.true_face[:, :frames],
        true_pose=results.true_pose[:, :frames],
        face_present=results.face_present[:, :frames],
        audio=results.audio[:, : frames * SAMPLES_PER_FRAME],
        lengths=np.full_like(results.lengths, frames),
        face=None if results.face is None else results.face[:, :, :frames],
        pose=None if results.pose is None else results.pose[:, :, :frames],
    )


def motion_figures(
    predicted: Array,  # [R, N, T, C]
    true: Array,  # [N, T, C]
    present: NDArray[np.bool_] | None = None,  # [N, T], False where the truth is invalid
) -> dict[str, Figure]:
    """The five metrics of the paper, over valid frames of the truth.

    Raises: ValueError: when fewer than three frames are valid.
    """
    valid = np.ones(true.shape[:2], np.bool_) if present is None else present
    sampled, truth = _channels_first(predicted), _channels_first(true[None])
    frames = metrics.frames_of(truth)[valid.ravel()]
    steps = metrics.differences_of(truth)[(valid[:, 1:] & valid[:, :-1]).ravel()]
    if len(steps) < 2:
        raise ValueError("the truth has fewer than three valid frames")
    moved = [t[:, v].var(1).mean() for t, v in zip(truth[0], valid, strict=True) if v.any()]
    return {
        "FD_g": Figure(metrics.frechet_distance(frames, metrics.frames_of(sampled))),
        "FD_k": Figure(metrics.frechet_distance(steps, metrics.differences_of(sampled))),
        "Div_g": Figure(_pair_distance(metrics.frames_of(sampled)), _pair_distance(frames)),
        "Div_k": Figure(metrics.variance_over_time(sampled), float(np.mean(moved))),
        "Div_sample": Figure(metrics.cross_sample_variance(sampled)),
    }


def _channels_first(motion: Array) -> Array:
    """[S, N, T, C] -> [S, N, C, T] float64."""
    return motion.transpose(0, 1, 3, 2).astype(np.float64)


def _pair_distance(frames: Array) -> float:
    """Div_g of frames [F, C], with the same pairs each time."""
    pairs = metrics.sample_pairs(len(frames), np.random.default_rng(PAIRS_SEED))
    return metrics.pair_distance(frames.T[None, None], *pairs)


def gesture_figures(
    predicted: Array,  # [R, N, T, J] joint angles
    true: Array,  # [N, T, J]
    audio: Array,  # [N, 1600 T, 2]
) -> dict[str, Figure]:
    """Speed of the body, and alignment of its beats with the voice.

    Baseline without skill: beats at any time of speech.
    """
    fast, true_fast = (float(body_speed(angles).mean()) for angles in (predicted, true))
    figures = {"speed": Figure(fast, true_fast, unit="rad/s")}
    sampled, truth, chance = [], [], []
    for sample, recording in enumerate(audio):
        marks = onsets(recording[:, 0])

        def score(times: Array, recording: Array = recording, marks: Array = marks) -> Array:
            return alignment(while_speaking(times, recording), marks)

        sampled += [score(kinematic_beats(take)) for take in predicted[:, sample]]
        truth.append(score(kinematic_beats(true[sample])))
        chance.append(score(frame_times(true.shape[1])))
    means = [_mean(np.concatenate(scores)) for scores in (sampled, truth, chance)]
    if means[0] is not None:
        figures["beat_alignment"] = Figure(means[0], means[1], means[2])
    return figures


def _mean(scores: Array) -> float | None:
    """Mean score; None without speech or movement."""
    return float(scores.mean()) if len(scores) else None


@dataclass(frozen=True)
class LipFrames:
    """Lip measurements in the concatenated frames of samples, each [frames]."""

    error: Array
    largest: Array
    opening: Array
    true_opening: Array
    speaks: NDArray[np.bool_]

    @classmethod
    def concatenate(cls, parts: Sequence[LipFrames]) -> LipFrames:
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


def lip_figures(results: Results, lips: Sequence[Lips]) -> dict[str, Figure]:
    """Lips of the samples next to their target, in frames with a visible face.

    Baseline without skill: lips constant at the mean of the target.
    """
    assert results.face is not None
    pairs = zip(lips, results.face_present, strict=True)
    mean = np.concatenate([own.target[present] for own, present in pairs]).mean(0)
    sampled, true, still = [], [], []
    for sample, own in enumerate(lips):
        measure = partial(lip_frames, own, results.face_present[sample], results.audio[sample])
        sampled += [measure(own.read(take[sample])) for take in results.face]
        true.append(measure(own.read(results.true_face[sample])))
        still.append(measure(np.broadcast_to(mean, own.target.shape)))
    sides = [LipFrames.concatenate(part) for part in (sampled, true, still)]

    def figure(measure: Callable[[LipFrames], float], unit: str = lips[0].unit) -> Figure:
        predicted, truth, no_skill = (float(measure(side)) for side in sides)
        return Figure(predicted, truth, no_skill, unit)

    figures = {
        "vertex_error": figure(lambda side: side.error.mean()),
        "largest_vertex_error": figure(lambda side: side.largest.mean()),
        "opening_spread": figure(lambda side: side.opening.std()),
        "opening_correlation": figure(
            lambda side: metrics.correlation(side.opening, side.true_opening), unit=""
        ),
    }
    if sides[0].speaks.any():
        figures["vertex_error_speaking"] = figure(lambda side: side.error[side.speaks].mean())
        figures["opening_correlation_speaking"] = figure(
            lambda side: metrics.correlation(
                side.opening[side.speaks], side.true_opening[side.speaks]
            ),
            unit="",
        )
    return figures


def lip_frames(
    own: Lips,
    visible: NDArray[np.bool_],  # [T]
    audio: Array,  # [1600 T, 2]
    vertices: Array,  # [T, V, 3]
) -> LipFrames:
    """Compare lips with their target, in frames with a visible face."""
    vertices, target = vertices[visible], own.target[visible]
    return LipFrames(
        metrics.lip_vertex_error(vertices, target),
        metrics.largest_lip_error(vertices, target),
        own.opening(vertices),
        own.opening(target),
        speech_mask(audio, 0)[visible],
    )


def sampling_figures(results: Results) -> dict[str, Figure]:
    """Sampling speed."""
    frames = results.repetitions * results.samples * results.frames
    speed = frames / results.sampling_seconds if results.sampling_seconds else 0.0
    return {
        "frames_per_second": Figure(speed, unit="frames/s"),
        "real_time": Figure(speed / FRAME_RATE, unit="x"),
    }


def table(evaluation: Evaluation) -> Iterator[str]:
    """Format the figures as lines for a terminal."""
    yield f"{'':30}{'samples':>12}{'truth':>12}{'no skill':>12}"
    for group, figures in evaluation.figures.items():
        yield group
        for name, figure in figures.items():
            values = (figure.predicted, figure.truth, figure.no_skill)
            cells = "".join(f"{'' if v is None else format(v, '.4g'):>12}" for v in values)
            yield f"  {name:28}{cells}  {figure.unit}".rstrip()
    for group, reason in evaluation.left_out.items():
        yield f"{group}: left out: {reason}"
