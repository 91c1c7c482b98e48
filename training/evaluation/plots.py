"""Pictures of an evaluation, as PNG. Needs matplotlib: the extra `plots`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.audio import FRAME_RATE, SAMPLE_RATE
from training.data.voice_activity import heard, while_speaking
from training.evaluation.beats import body_speed, kinematic_beats, onsets
from training.evaluation.joints import joint_columns, joint_groups
from training.evaluation.lips import blendshape_of, lips_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture
    from numpy.typing import NDArray

    from models.formats.results import Results
    from training.evaluation.lips import Lips

    Array = NDArray[np.floating[Any]]

TRUTH, DRAWN, MARK = "#2b2b2b", "#1f77b4", "#d1495b"
SHOWN_SAMPLES = 3  # samples whose lips are shown, one below the other
SHOWN_JOINTS = 4
SHOWN_SECONDS = 10.0  # of each
BINS = 60
STILL = 1e-4  # spread below this is that of what does not move


@dataclass(frozen=True)
class LineStyle:
    """What there is to be shown."""

    results: Results
    lips: Sequence[Lips] | None
    parameter_names: tuple[str, ...] | None

    @property
    def joints(self) -> list[int]:
        """Columns of the pose that are angles."""
        return joint_columns(self.parameter_names, self.results.true_pose.shape[-1])

    @property
    def poses(self) -> Array:
        """[R, N, T, 104] of results that have them."""
        assert self.results.pose is not None
        return self.results.pose

    @property
    def seconds(self) -> float:
        """How much of a sample is shown over time."""
        return min(SHOWN_SECONDS, self.results.frames / FRAME_RATE)


def write_plots(results: Results, person: Path, folder: Path) -> list[Path]:
    """Write what can be shown of some results; answers the files.

    ImportError, with what to install, where there is no matplotlib.
    """
    try:
        from matplotlib.figure import Figure as Picture
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib: pip install 'visavis-server[plots]', or leave out --plots"
        ) from error
    avatar = blendshape_of(person)
    look = LineStyle(results, _lips(results, person), avatar.parameter_names if avatar else None)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, plot in _plots(look):
        picture = Picture(figsize=(10, 6), dpi=120, layout="constrained")
        plot(picture, look)
        written.append(folder / f"{name}.png")
        picture.savefig(written[-1])
    return written


def _plots(look: LineStyle) -> Iterator[tuple[str, Callable[[Picture, LineStyle], None]]]:
    if look.results.pose is not None:
        yield "speed", plot_speed
        yield "spread", plot_spread
        yield "beats", plot_beats
        yield "takes", plot_takes
    if look.lips is not None:
        yield "lips", plot_lips


def plot_speed(picture: Picture, look: LineStyle) -> None:
    """How often the body has which speed, while the person speaks and while not."""
    predicted, true = (
        body_speed(pose[..., look.joints]) for pose in (look.poses, look.results.true_pose)
    )
    speaks = np.stack([heard(audio, 0)[1:] for audio in look.results.audio])  # [N, T - 1]
    slow, fast = 1e-3, float(true.max()) * 2 + 2e-3
    bins = np.geomspace(slow, fast, BINS)
    axes = picture.subplots(2, 1, sharex=True)
    for axis, chosen, title in (
        (axes[0], speaks, "while speaking"),
        (axes[1], ~speaks, "while silent"),
    ):
        sides = ((true[chosen], TRUTH, "truth"), (predicted[:, chosen].ravel(), DRAWN, "samples"))
        for values, colour, name in sides:
            if not len(values):
                continue
            shares = np.histogram(values.clip(slow, fast), bins)[0] / len(values)
            label = f"{name}, mean {values.mean():.3f} rad/s"
            axis.stairs(shares, bins, color=colour, lw=1.6, label=label)
            axis.stairs(shares, bins, color=colour, alpha=0.15, fill=True)
        axis.set(xscale="log", xlim=(slow, fast), ylabel="share of frames", title=title)
        _plain(axis)
    axes[1].set_xlabel("mean speed of the joints, rad/s")
    picture.suptitle("Speed of the body")


def plot_spread(picture: Picture, look: LineStyle) -> None:
    """How much each part of the body moves within a sample."""
    predicted, true = (
        pose.std(-2).reshape(-1, pose.shape[-1]).mean(0)  # [C]
        for pose in (look.poses, look.results.true_pose)
    )
    groups = joint_groups(look.parameter_names, len(true))
    pairs = {
        name: (float(true[columns].mean()), float(predicted[columns].mean()))
        for name, columns in groups.items()
    }
    moving = {name: pair for name, pair in pairs.items() if max(pair) > STILL}
    axis = picture.subplots()
    rows = np.arange(len(moving))
    values = np.array(list(moving.values())).reshape(-1, 2).clip(min=STILL)
    axis.hlines(rows, values.min(1), values.max(1), color="#bbbbbb", lw=2, zorder=1)
    for column, colour, name in ((0, TRUTH, "truth"), (1, DRAWN, "samples")):
        axis.scatter(values[:, column], rows, color=colour, s=60, label=name, zorder=2)
    axis.set_yticks(rows, list(moving))
    axis.invert_yaxis()
    axis.grid(axis="x", color="#e6e6e6")
    axis.set(xscale="log", xlabel="spread over time, rad (place: dm, breath: without unit)")
    _plain(axis)
    picture.suptitle("How much each part moves")


def plot_beats(picture: Picture, look: LineStyle) -> None:
    """Onsets of the voice, and when the body comes to rest, in the sample with most speech."""
    results = look.results
    sample = _talkative(results)
    audio = results.audio[sample]
    marks = onsets(audio[:, 0])
    axes = picture.subplots(3, 1, sharex=True, height_ratios=(1, 1.3, 1.3))
    envelope = _envelope(audio[:, 0])
    times = np.arange(len(envelope)) / 100
    axes[0].fill_between(times, -envelope, envelope, color=TRUTH, alpha=0.5, lw=0)
    axes[0].vlines(marks, -envelope.max(), envelope.max(), MARK, lw=0.8, label="onset")
    axes[0].set(title="voice", yticks=[])
    sides = (
        (axes[1], results.true_pose[sample], TRUTH, "truth"),
        (axes[2], look.poses[0, sample], DRAWN, "first repetition"),
    )
    for axis, pose, colour, name in sides:
        angles = pose[:, look.joints]
        moving, beats = body_speed(angles), while_speaking(kinematic_beats(angles), audio)
        axis.plot((np.arange(len(moving)) + 1) / FRAME_RATE, moving, color=colour, lw=1.3)
        axis.vlines(beats, 0, moving.max(), MARK, lw=0.8, ls="--", label="comes to rest")
        axis.set(ylabel="rad/s", title=f"speed of the body: {name}", ylim=(0, None))
    for axis in axes:
        _plain(axis)
    axes[-1].set(xlabel="s", xlim=(0, look.seconds))
    picture.suptitle(f"Beats, {_named(results, sample)}")


def plot_takes(picture: Picture, look: LineStyle) -> None:
    """All repetitions of one sample, in the joints that move most in the truth."""
    results, joints = look.results, np.array(look.joints)
    sample = _talkative(results)
    true, predicted = results.true_pose[sample], look.poses[:, sample]
    moving = joints[np.argsort(-true[:, joints].std(0))[:SHOWN_JOINTS]]
    axes = picture.subplots(len(moving), 1, sharex=True)
    times = np.arange(results.frames) / FRAME_RATE
    for axis, column in zip(axes, moving, strict=True):
        for number, take in enumerate(predicted):
            label = f"{len(predicted)} repetitions" if not number else None
            axis.plot(times, take[:, column], color=DRAWN, lw=1, alpha=0.7, label=label)
        axis.plot(times, true[:, column], color=TRUTH, lw=1.6, label="truth")
        names = look.parameter_names
        axis.set(ylabel="rad", title=names[column] if names else f"column {column}")
        _plain(axis, legend=axis is axes[0])
    axes[-1].set(xlabel="s", xlim=(0, times[-1]))
    picture.suptitle(f"Repetitions, {_named(results, sample)}")


def plot_lips(picture: Picture, look: LineStyle) -> None:
    """How far the lips are open beside the spectrum of the voice."""
    results, lips = look.results, look.lips
    assert lips is not None
    assert results.face is not None
    shown = range(min(SHOWN_SAMPLES, results.samples))
    picture.set_size_inches(10, 3.4 * len(shown))
    axes = picture.subplots(2 * len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for sample, (above, below) in zip(shown, zip(axes[::2], axes[1::2], strict=True), strict=True):
        sound = results.audio[sample, :, 0]
        above.imshow(
            _spectrogram(sound),
            origin="lower",
            aspect="auto",
            cmap="magma",
            extent=(0, len(sound) / SAMPLE_RATE, 0, 8),
        )
        above.set_ylabel("kHz")
        above.set_title(_named(results, sample), loc="left", fontsize=10)
        times = np.arange(results.frames) / FRAME_RATE
        for number, take in enumerate(results.face):
            opening = lips[sample].opening(lips[sample].read(take[sample]))
            label = f"{results.repetitions} repetitions" if not number else None
            below.plot(times, opening, color=DRAWN, lw=1, alpha=0.7, label=label)
        target = lips[sample].opening(lips[sample].target)
        below.plot(times, target, color=TRUTH, lw=1.6, label="as they should be")
        below.set(ylabel=f"opening, {lips[sample].unit}")
        _plain(below, legend=sample == 0)
    axes[-1].set(xlabel="s", xlim=(0, look.seconds))
    picture.suptitle("Lips and voice")


def _plain(axis: Axes, *, legend: bool = True) -> None:
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


def _talkative(results: Results) -> int:
    """The sample in which the person speaks most of the time that is shown."""
    shown = int(SHOWN_SECONDS * SAMPLE_RATE)
    return int(np.argmax([heard(audio[:shown], 0).sum() for audio in results.audio]))


def _named(results: Results, sample: int) -> str:
    return f"{results.scenes[sample]} from frame {results.first_frames[sample]}"


def _envelope(sound: Array) -> Array:
    """The loudest in every 10 ms."""
    hop = SAMPLE_RATE // 100
    return np.abs(sound[: len(sound) // hop * hop].reshape(-1, hop)).max(1)


def _spectrogram(sound: Array) -> Array:
    """dB below the loudest, [bins to 8 kHz, one every 10 ms]."""
    window = 1200
    padded = np.pad(sound, window // 2)
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
        return None  # the evaluation says why
