"""Evaluation of the demo person: sampled motion against ground truth on held-out speech.

Lips are measured on frames with speech, beside a baseline that only distinguishes speech from
silence; the body by speed and spread against the truth, by speaking against listening, and by the
measures of `body_measures`, beside those of the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d

from contracts.person import PersonError, read_manifest
from contracts.quality import sampling_options
from models.avatar.blendshape.model import load_blendshape
from models.finishing.animator import load_finished_animator
from models.formats.dataset import DatasetError, find_scenes
from models.motion.pipeline import Sampling, take_seed
from training.data.audio import FRAME_RATE, loudness
from training.data.phones import PHONES, TimedPhone, read_phones
from training.data.scenes import chunks
from training.data.voice_activity import speech_mask
from training.demo.body_measures import Hands, measure_body, nods_at_cues
from training.demo.speech.motion_rules import ARMS, UNIT
from training.evaluation.lip_animator import load_lips_animator
from training.evaluation.lip_measures import (
    NOISES,
    envelope_fit,
    flat_shapes,
    shapes_by_phone,
    with_noise,
)
from training.evaluation.metrics import correlation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.avatar.blendshape.model import BlendshapeModel
    from models.finishing.animator import FinishedAnimator
    from models.motion.pipeline import Animator
    from training.evaluation.lip_animator import LipsAnimator

    Animates = Animator | FinishedAnimator | LipsAnimator
    Array = NDArray[np.floating]
    Mask = NDArray[np.bool_]

JAW = UNIT["jawOpen"]
CLEAR_NODS = 2.0  # times the movement elsewhere
REPORTED = ("jawOpen", "mouthFunnel", "mouthPucker", "mouthPressLeft", "mouthRollLower")


@dataclass(frozen=True)
class SampledClip:
    """Sampled motion of a clip and, if available, the true motion."""

    samples: Array  # [1600 T, 2]
    units: Array  # [T, 52]
    pose: Array  # [T, 104]
    true_units: Array | None = None
    true_pose: Array | None = None
    take: int = 1
    phones: Sequence[TimedPhone] | None = None  # of the person

    def speech(self) -> tuple[Mask, Mask]:
        """Frames in which the person and the partner speak, [T] each."""
        return speech_mask(self.samples, 0), speech_mask(self.samples, 1)


def arm_speed(pose: Array) -> Array:
    """Mean absolute speed of the arm parameters, [T], rad/s."""
    step = np.abs(np.diff(pose[:, ARMS], axis=0)).mean(1) * FRAME_RATE
    return np.concatenate([step, step[-1:]])


def arm_speed_ratio(poses: Sequence[Array], clips: Sequence[SampledClip]) -> float:
    """Mean speed of arms in poses [T, P] while she speaks, over that while the partner does."""
    own, other = (
        np.concatenate([speech_mask(clip.samples, channel) for clip in clips]) for channel in (0, 1)
    )
    arms = np.concatenate([arm_speed(pose) for pose in poses])
    return float(arms[own].mean() / max(1e-9, arms[other & ~own].mean()))


def judge_without_truth(clips: Sequence[SampledClip]) -> dict[str, float]:
    """Measures that need no truth: lips against loudness and silence, arms during speech."""
    jaw = np.concatenate([clip.units[:, JAW] for clip in clips])
    level = np.concatenate([loudness(clip.samples[:, 0].astype(np.float32)) for clip in clips])
    own = np.concatenate([speech_mask(clip.samples, 0) for clip in clips])
    return {
        "jaw_loudness": correlation(jaw, level),
        "jaw_loudness_speaking": correlation(jaw[own], level[own]),
        "jaw_mean_speaking": float(jaw[own].mean()),
        "jaw_mean_silent": float(jaw[~own].mean()),
        "jaw_high_silent": float(np.quantile(jaw[~own], 0.95)),
        "arm_speed_ratio": arm_speed_ratio([clip.pose for clip in clips], clips),
    }


def judge_lips(clips: Sequence[SampledClip]) -> dict[str, float]:
    """Sampled against true face units, over all frames and over the frames with speech."""
    pairs = [(clip.units, clip.true_units) for clip in clips if clip.true_units is not None]
    sampled, true = (np.concatenate(side) for side in zip(*pairs, strict=True))
    speaks = maximum_filter1d(true[:, JAW], 13) > 0.08
    on_off = np.where(speaks, true[speaks, JAW].mean(), true[~speaks, JAW].mean())
    result = {"jaw_on_off_only": correlation(on_off, true[:, JAW])}
    for name in REPORTED:
        unit = UNIT[name]
        result[f"{name}_all"] = correlation(sampled[:, unit], true[:, unit])
        result[f"{name}_speaking"] = correlation(sampled[speaks, unit], true[speaks, unit])
    result["jaw_spread_ratio"] = float(sampled[speaks, JAW].std() / true[speaks, JAW].std())
    return result


def judge_body(clips: Sequence[SampledClip]) -> dict[str, float]:
    """Ratios of speed, spread and roughness of the sampled to the true pose; the ideal is 1."""
    pairs = [(clip.pose, clip.true_pose) for clip in clips if clip.true_pose is not None]

    def roughness(pose: Array, order: int) -> float:
        return float(np.abs(np.diff(pose, order, axis=0)).mean())

    speed, jitter = (
        np.mean([roughness(pose, n) for pose, _ in pairs])
        / np.mean([roughness(true, n) for _, true in pairs])
        for n in (1, 2)
    )
    sampled, true = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return {
        "body_speed_ratio": float(speed),
        "body_second_difference_ratio": float(jitter),
        "body_spread_ratio": float(sampled.std(0).mean() / true.std(0).mean()),
        "arm_speed_ratio_truth": arm_speed_ratio([true_pose for _, true_pose in pairs], clips),
    }


def judge_movement(clips: Sequence[SampledClip], hands: Hands | None = None) -> dict[str, float]:
    """Tremble, gaze, blinks, nods and hands of samples and, as `<name>_truth`, of the truth.

    Of the first take; takes with nods at cues, and the lowest ratio of arm speeds, are of all.
    """
    first = [clip for clip in clips if clip.take == 1]
    speech = [clip.speech() for clip in first]
    result = measure_body(
        [clip.pose for clip in first], [clip.units for clip in first], speech, hands
    )
    poses = [clip.true_pose for clip in first if clip.true_pose is not None]
    units = [clip.true_units for clip in first if clip.true_units is not None]
    if poses:
        true = measure_body(poses, units, speech, hands)
        result |= {f"{name}_truth": value for name, value in true.items()}
    takes = [
        [clip.pose for clip in clips if clip.take == take]
        for take in sorted({clip.take for clip in clips})
    ]
    nods = [nods_at_cues(poses, speech) for poses in takes]
    result["takes_with_nods_at_cues"] = float(np.mean([ratio >= CLEAR_NODS for ratio in nods]))
    result["arm_speed_ratio_lowest"] = min(arm_speed_ratio(poses, first) for poses in takes)
    return result


def judge_phones(clips: Sequence[SampledClip], avatar: BlendshapeModel) -> dict[str, float]:
    """Lip shapes by phone, and closed lips and rounding of the truth as `<name>_truth`."""
    result = _by_phone(clips, avatar, [clip.units for clip in clips])
    true = [clip.true_units for clip in clips if clip.true_units is not None]
    if len(true) == len(clips):
        found = _by_phone(clips, avatar, true)
        result |= {f"{name}_truth": value for name, value in found.items()}
    return result


def _by_phone(
    clips: Sequence[SampledClip], avatar: BlendshapeModel, units: Sequence[Array]
) -> dict[str, float]:
    opening, phones, start = [], [], 0.0
    for clip, of_clip in zip(clips, units, strict=True):
        opening.append(opening_of(avatar, of_clip))
        phones += [
            TimedPhone(phone.symbol, phone.start + start, phone.end + start)
            for phone in clip.phones or ()
        ]
        start += len(of_clip) / FRAME_RATE
    together = np.concatenate(units)
    named = {"mouthPucker": together[:, UNIT["mouthPucker"]]}
    return flat_shapes(shapes_by_phone(phones, np.concatenate(opening), named))


def opening_of(avatar: BlendshapeModel, units: Array) -> Array:
    """Distance of the lips in mm: units [T, 52] -> [T]."""
    return 10 * avatar.lip_opening(torch.from_numpy(units).float()).numpy()


def judge_sync(clips: Sequence[SampledClip], avatar: BlendshapeModel) -> dict[str, float]:
    """Correlation of the mouth's opening with the envelope of the voice, and its lag."""
    fits = [
        envelope_fit(opening_of(avatar, clip.units), clip.samples[:, 0].astype(np.float64))
        for clip in clips
        if clip.speech()[0].any()
    ]
    correlations, lags = zip(*fits, strict=True)
    return {
        "envelope": float(np.mean(correlations)),
        "lag_ms": float(np.median(lags)),
    }


def judge_noise(
    clean: Sequence[SampledClip],
    noisy: Mapping[str, Sequence[SampledClip]],
    avatar: BlendshapeModel,
) -> dict[str, float]:
    """Lips of clips with noise: opening in silence, and the jaw's correlation while she speaks.

    `_share`: of the correlation without noise.
    """
    result: dict[str, float] = {}
    for kind, clips in {"clean": clean, **noisy}.items():
        opening = np.concatenate([opening_of(avatar, clip.units) for clip in clips])
        jaw = np.concatenate([clip.units[:, JAW] for clip in clips])
        true = np.concatenate(
            [clip.true_units[:, JAW] for clip in clips if clip.true_units is not None]
        )
        speaks = maximum_filter1d(true, 13) > 0.08
        result[f"noise_{kind}_silent_mm"] = float(opening[~speaks].mean())
        found = correlation(jaw[speaks], true[speaks])
        result[f"noise_{kind}_jaw_speaking"] = found
        result[f"noise_{kind}_jaw_share"] = found / result["noise_clean_jaw_speaking"]
    return result


def cut_clips(
    folder: Path, seconds: float, count: int
) -> Iterator[tuple[Array, Array, Array, list[TimedPhone] | None]]:
    """Yield (samples, codes, pose, phones) of the first `count` clips of `seconds` in a dataset.

    Raises: DatasetError: when no scene is long enough.
    """
    frames = int(seconds * FRAME_RATE)
    taken = 0
    for files in find_scenes(folder):
        scene = files.open()
        for start in chunks(scene.frames, frames):
            if taken == count:
                return
            cut = (start, start + frames)
            path = folder / f"{files.name}{PHONES}"
            phones = (
                read_phones(path, start / FRAME_RATE, (start + frames) / FRAME_RATE)
                if path.is_file()
                else None
            )
            yield scene.samples(*cut), scene.codes(*cut), scene.poses(*cut), phones
            taken += 1
    if not taken:
        raise DatasetError(f"{folder}: no scene has {seconds:g} s; pass a smaller --seconds")


def judge(
    person: Path,
    data: Path,
    *,
    clips: int,
    seconds: float,
    steps: int | None = None,
    seed: int = 1,
    takes: int = 1,
    noisy_clips: int = 0,
) -> dict[str, float]:
    """Sample `clips` clips of a dataset as the worker would, and measure them against the truth.

    takes: of each clip. The first one is measured, and the nods and arms of all.
    noisy_clips: clips that are sampled again with each kind of noise.
    """
    avatar = judged_avatar(person)
    sampled = list(
        sample_clips(
            person, data, clips=clips, seconds=seconds, steps=steps, seed=seed, takes=takes,
            avatar=avatar,
        )
    )  # fmt: skip
    first = [clip for clip in sampled if clip.take == 1]
    hands = Hands.of(avatar) if "wrist.L" in avatar.config.joint_names else None
    figures = (
        judge_without_truth(first)
        | judge_lips(first)
        | judge_body(first)
        | judge_movement(sampled, hands)
        | judge_sync(first, avatar)
    )
    if any(clip.phones for clip in first):
        figures |= judge_phones(first, avatar)
    if noisy_clips:
        again = {
            kind: list(
                sample_clips(
                    person, data, clips=min(noisy_clips, len(first)), seconds=seconds, steps=steps,
                    seed=seed, avatar=avatar, noise=kind,
                )
            )
            for kind in NOISES
        }  # fmt: skip
        figures |= judge_noise(first[:noisy_clips], again, avatar)
    return figures


def judge_lips_alone(
    person: Path, data: Path, *, clips: int, seconds: float, noisy_clips: int = 0
) -> dict[str, float]:
    """Measure the lips of the regressor and its finishing step on clips, without sampling.

    Raises: PersonError: when the person has no regressor.
    """
    avatar, animator = judged_avatar(person), lips_animator(person)

    def sampled(count: int, noise: str | None = None) -> list[SampledClip]:
        return list(
            sample_clips(
                person, data, clips=count, seconds=seconds, steps=None, seed=1, avatar=avatar,
                animator=animator, noise=noise,
            )
        )  # fmt: skip

    first = sampled(clips)
    figures = judge_lips(first) | judge_sync(first, avatar)
    if any(clip.phones for clip in first):
        figures |= judge_phones(first, avatar)
    if noisy_clips:
        again = {kind: sampled(min(noisy_clips, len(first)), kind) for kind in NOISES}
        figures |= judge_noise(first[:noisy_clips], again, avatar)
    return figures


def lips_animator(person: Path) -> LipsAnimator:
    """Load lips alone. Raises: PersonError: when the person has no regressor."""
    animator = load_lips_animator(person)
    if animator is None:
        raise PersonError(
            f"{person}: has no lip regressor with the step `lips`; first run `python -m training "
            "lips` and `python -m training.demo.finishing --only lips`"
        )
    return animator


def judged_avatar(person: Path) -> BlendshapeModel:
    """Load the avatar. Raises: PersonError: when the person has another kind of avatar."""
    if read_manifest(person).avatar_kind != "blendshape":
        raise PersonError(f"{person}: the judge reads blendshape avatars; this is another kind")
    return load_blendshape(person / "avatar.safetensors", device=torch.device("cpu"))


def sample_clips(
    person: Path,
    data: Path,
    *,
    clips: int,
    seconds: float,
    steps: int | None,
    seed: int,
    avatar: BlendshapeModel,
    takes: int = 1,
    animator: Animates | None = None,
    noise: str | None = None,
) -> Iterator[SampledClip]:
    """Sample takes of each clip with the defaults of the person.

    animator: another one than that of the worker. noise: a kind of noise in her channel; babble is
    made of the partners of other clips.
    """
    manifest = read_manifest(person)
    if animator is None:
        animator = load_finished_animator(person, device=torch.device("cpu"))
    defaults = manifest.defaults
    cut = list(cut_clips(data, seconds, clips))
    for number, (samples, codes, pose, phones) in enumerate(cut):
        heard = samples
        if noise is not None:
            others = [other[0][:, 1] for other in cut]
            heard = with_noise(samples, noise, others=others, seed=seed + number)
        sampling = Sampling(
            seeds=tuple(take_seed(seed, number + 1 + clips * take) for take in range(takes)),
            **sampling_options(defaults, steps, student=manifest.student),
            guidance_face=defaults["guidance_face"],
            guidance_body=defaults["guidance_body"],
            diversity=defaults["diversity"],
        )
        true_units = avatar.unit_weights(torch.from_numpy(codes).float()).numpy()
        motions = animator.animate(torch.from_numpy(heard), sampling)
        for take, motion in enumerate(motions, start=1):
            units = avatar.unit_weights(motion.face).numpy()
            yield SampledClip(samples, units, motion.pose.numpy(), true_units, pose, take, phones)
