"""Plots of an evaluation, as PNG. They need matplotlib: the extra `plots`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.errors import InputError
from training.data.audio import FRAME_RATE, SAMPLE_RATE
from training.data.voice_activity import speech_mask, while_speaking
from training.evaluation.beats import body_speed, kinematic_beats, onsets
from training.evaluation.joints import joint_columns, joint_groups
from training.evaluation.lips import blendshape_of, lips_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from models.formats.results import Results
    from training.evaluation.lips import Lips

    Array = NDArray[np.floating[Any]]

TRUTH, SAMPLED, MARK = "#2b2b2b", "#1f77b4", "#d1495b"
SHOWN_SAMPLES = 3  # samples in the plot of lips
SHOWN_JOINTS = 4
SHOWN_SECONDS = 10.0  # of each sample
BINS = 60
STILL = 1e-4  # highest spread of a constant channel


@dataclass(frozen=True)
class PlotData:
    """Results with the names and lips that plots need."""

    results: Results
    lips: Sequence[Lips] | None
    parameter_names: tuple[str, ...] | None

    @property
    def joints(self) -> list[int]:
        """Columns of the pose that are joint angles."""
        return joint_columns(self.parameter_names, self.results.true_pose.shape[-1])

    @property
    def poses(self) -> Array:
        """Sampled poses [R, N, T, 104]."""
        assert self.results.pose is not None
        return self.results.pose

    @property
    def seconds(self) -> float:
        """Length of the time axis."""
        return min(SHOWN_SECONDS, self.results.frames / FRAME_RATE)


def write_plots(results: Results, person: Path, folder: Path) -> list[Path]:
    """Write all plots that the results allow; return their paths.

    Raises: InputError: when matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "plots need matplotlib: pip install 'visavis-server[plots]', or leave out --plots"
        ) from error
    avatar = blendshape_of(person)
    data = PlotData(results, _lips(results, person), avatar.parameter_names if avatar else None)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, plot in _plots(data):
        figure = Figure(figsize=(10, 6), dpi=120, layout="constrained")
        plot(figure, data)
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1])
    return written


def _plots(data: PlotData) -> Iterator[tuple[str, Callable[[Figure, PlotData], None]]]:
    if data.results.pose is not None:
        yield "speed", plot_speed
        yield "spread", plot_spread
        yield "beats", plot_beats
        yield "takes", plot_takes
    if data.lips is not None:
        yield "lips", plot_lips


def plot_speed(figure: Figure, data: PlotData) -> None:
    """Histogram of the body's speed, with and without speech of the person."""
    predicted, true = (
        body_speed(pose[..., data.joints]) for pose in (data.poses, data.results.true_pose)
    )
    speech = np.stack([speech_mask(audio, 0)[1:] for audio in data.results.audio])  # [N, T - 1]
    slow, fast = 1e-3, float(true.max()) * 2 + 2e-3
    bins = np.geomspace(slow, fast, BINS)
    axes = figure.subplots(2, 1, sharex=True)
    for axis, chosen, title in (
        (axes[0], speech, "while speaking"),
        (axes[1], ~speech, "while silent"),
    ):
        sides = ((true[chosen], TRUTH, "truth"), (predicted[:, chosen].ravel(), SAMPLED, "samples"))
        for values, colour, name in sides:
            if not len(values):
                continue
            shares = np.histogram(values.clip(slow, fast), bins)[0] / len(values)
            label = f"{name}, mean {values.mean():.3f} rad/s"
            axis.stairs(shares, bins, color=colour, lw=1.6, label=label)
            axis.stairs(shares, bins, color=colour, alpha=0.15, fill=True)
        axis.set(xscale="log", xlim=(slow, fast), ylabel="share of frames", title=title)
        _style(axis)
    axes[1].set_xlabel("mean speed of the joints, rad/s")
    figure.suptitle("Speed of the body")


def plot_spread(figure: Figure, data: PlotData) -> None:
    """Spread of each part of the body over time."""
    predicted, true = (
        pose.std(-2).reshape(-1, pose.shape[-1]).mean(0)  # [C]
        for pose in (data.poses, data.results.true_pose)
    )
    groups = joint_groups(data.parameter_names, len(true))
    pairs = {
        name: (float(true[columns].mean()), float(predicted[columns].mean()))
        for name, columns in groups.items()
    }
    moving = {name: pair for name, pair in pairs.items() if max(pair) > STILL}
    axis = figure.subplots()
    rows = np.arange(len(moving))
    values = np.array(list(moving.values())).reshape(-1, 2).clip(min=STILL)
    axis.hlines(rows, values.min(1), values.max(1), color="#bbbbbb", lw=2, zorder=1)
    for column, colour, name in ((0, TRUTH, "truth"), (1, SAMPLED, "samples")):
        axis.scatter(values[:, column], rows, color=colour, s=60, label=name, zorder=2)
    axis.set_yticks(rows, list(moving))
    axis.invert_yaxis()
    axis.grid(axis="x", color="#e6e6e6")
    axis.set(xscale="log", xlabel="spread over time, rad (place: dm, breath: without unit)")
    _style(axis)
    figure.suptitle("How much each part moves")


def plot_beats(figure: Figure, data: PlotData) -> None:
    """Onsets of the voice and beats of the body, in the sample with most speech."""
    results = data.results
    sample = _most_speech(results)
    audio = results.audio[sample]
    marks = onsets(audio[:, 0])
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1.3, 1.3))
    envelope = _envelope(audio[:, 0])
    times = np.arange(len(envelope)) / 100
    axes[0].fill_between(times, -envelope, envelope, color=TRUTH, alpha=0.5, lw=0)
    axes[0].vlines(marks, -envelope.max(), envelope.max(), MARK, lw=0.8, label="onset")
    axes[0].set(title="voice", yticks=[])
    sides = (
        (axes[1], results.true_pose[sample], TRUTH, "truth"),
        (axes[2], data.poses[0, sample], SAMPLED, "first repetition"),
    )
    for axis, pose, colour, name in sides:
        angles = pose[:, data.joints]
        moving, beats = body_speed(angles), while_speaking(kinematic_beats(angles), audio)
        axis.plot((np.arange(len(moving)) + 1) / FRAME_RATE, moving, color=colour, lw=1.3)
        axis.vlines(beats, 0, moving.max(), MARK, lw=0.8, ls="--", label="comes to rest")
        axis.set(ylabel="rad/s", title=f"speed of the body: {name}", ylim=(0, None))
    for axis in axes:
        _style(axis)
    axes[-1].set(xlabel="s", xlim=(0, data.seconds))
    figure.suptitle(f"Beats, {_label(results, sample)}")


def plot_takes(figure: Figure, data: PlotData) -> None:
    """All repetitions of one sample, for the joints that move most in the truth."""
    results, joints = data.results, np.array(data.joints)
    sample = _most_speech(results)
    true, predicted = results.true_pose[sample], data.poses[:, sample]
    moving = joints[np.argsort(-true[:, joints].std(0))[:SHOWN_JOINTS]]
    axes = figure.subplots(len(moving), 1, sharex=True)
    times = np.arange(results.frames) / FRAME_RATE
    for axis, column in zip(axes, moving, strict=True):
        for number, take in enumerate(predicted):
            label = f"{len(predicted)} repetitions" if not number else None
            axis.plot(times, take[:, column], color=SAMPLED, lw=1, alpha=0.7, label=label)
        axis.plot(times, true[:, column], color=TRUTH, lw=1.6, label="truth")
        names = data.parameter_names
        axis.set(ylabel="rad", title=names[column] if names else f"column {column}")
        _style(axis, legend=axis is axes[0])
    axes[-1].set(xlabel="s", xlim=(0, times[-1]))
    figure.suptitle(f"Repetitions, {_label(results, sample)}")


def plot_lips(figure: Figure, data: PlotData) -> None:
    """Opening of the lips below the spectrum of the voice."""
    results, lips = data.results, data.lips
    assert lips is not None
    assert results.face is not None
    shown = range(min(SHOWN_SAMPLES, results.samples))
    figure.set_size_inches(10, 3.4 * len(shown))
    axes = figure.subplots(2 * len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for sample, (above, below) in zip(shown, zip(axes[::2], axes[1::2], strict=True), strict=True):
        audio = results.audio[sample, :, 0]
        above.imshow(
            _spectrogram(audio),
            origin="lower",
            aspect="auto",
            cmap="magma",
            extent=(0, len(audio) / SAMPLE_RATE, 0, 8),
        )
        above.set_ylabel("kHz")
        above.set_title(_label(results, sample), loc="left", fontsize=10)
        times = np.arange(results.frames) / FRAME_RATE
        for number, take in enumerate(results.face):
            opening = lips[sample].opening(lips[sample].read(take[sample]))
            label = f"{results.repetitions} repetitions" if not number else None
            below.plot(times, opening, color=SAMPLED, lw=1, alpha=0.7, label=label)
        target = lips[sample].opening(lips[sample].target)
        below.plot(times, target, color=TRUTH, lw=1.6, label="as they should be")
        below.set(ylabel=f"opening, {lips[sample].unit}")
        _style(below, legend=sample == 0)
    axes[-1].set(xlabel="s", xlim=(0, data.seconds))
    figure.suptitle("Lips and voice")


def _style(axis: Axes, *, legend: bool = True) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(axis.get_title(), loc="left", fontsize=10)
    axis.set_title("")
    if legend and axis.get_legend_handles_labels()[0]:
        axis.legend(
            frameon=False,
            fontsize=9,
            ncols=2,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            borderaxespad=0.2,
        )


def _most_speech(results: Results) -> int:
    """Sample with most speech of the person in the shown seconds."""
    shown = int(SHOWN_SECONDS * SAMPLE_RATE)
    return int(np.argmax([speech_mask(audio[:shown], 0).sum() for audio in results.audio]))


def _label(results: Results, sample: int) -> str:
    return f"{results.scenes[sample]} from frame {results.first_frames[sample]}"


def _envelope(audio: Array) -> Array:
    """Highest amplitude of every 10 ms."""
    hop = SAMPLE_RATE // 100
    return np.abs(audio[: len(audio) // hop * hop].reshape(-1, hop)).max(1)


def _spectrogram(audio: Array) -> Array:
    """Level in dB, at most 60 below the highest: [bins to 8 kHz, one column per 10 ms]."""
    window = 1200
    padded = np.pad(audio, window // 2)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[:: SAMPLE_RATE // 100]
    spectrum = np.abs(np.fft.rfft(pieces * np.hanning(window), axis=1))[:, : window // 6]
    level = 20 * np.log10(spectrum.T + 1e-9)
    return level.clip(min=level.max() - 60)


def _lips(results: Results, person: Path) -> list[Lips] | None:
    if results.face is None:
        return None
    try:
        return lips_of(person, results)
    except ValueError:
        return None  # the evaluation reports the reason
