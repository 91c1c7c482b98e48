"""Rule-based motion from phones with timings, the training target of the demo person.

Letters: T frames (30/s), U = 52 face units, P = 104 pose parameters. A frame is the middle of its
thirtieth of a second. Mouth, beats and strokes depend only on properties of the audio: phones,
stress and loudness. The rest (blinks, gaze, sway) is random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from training.data.audio import FRAME_RATE
from training.demo.speech.voices import SILENCE, Phone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    Signal = NDArray[np.float64]  # [T]
    PoseKeys = Mapping[str, Mapping[str, float]]  # "rest_L" -> {"elbow_L_flex": 0.65, ...}

_PAIRED = "CheekSquint EyeBlink EyeLookDown EyeLookIn EyeLookOut EyeLookUp EyeSquint EyeWide"
FACE_UNITS = tuple(
    sorted(
        ["browInnerUp", "cheekPuff", "jawForward", "jawLeft", "jawOpen", "jawRight"]
        + ["mouthClose", "mouthFunnel", "mouthLeft", "mouthPucker", "mouthRight", "tongueOut"]
        + ["mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"]
        + [
            name + side
            for name in (
                "browDown", "browOuterUp", "noseSneer", "mouthDimple", "mouthFrown",
                "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp",
                *[word[0].lower() + word[1:] for word in _PAIRED.split()],
            )
            for side in ("Left", "Right")
        ]
    )
)  # fmt: skip
UNIT = {name: i for i, name in enumerate(FACE_UNITS)}
_BOTH_SIDES = ("mouthPress", "mouthUpperUp", "mouthLowerDown", "mouthStretch", "mouthSmile")


@dataclass(frozen=True)
class Track:
    """Phones and loudness of a conversation, the input of the motion rules."""

    person: tuple[Phone, ...]
    partner: tuple[Phone, ...]
    loudness: Signal  # [T] of the clean voice of the person; 1 is a loud vowel

    @property
    def frames(self) -> int:
        return len(self.loudness)

    @property
    def times(self) -> Signal:
        return (np.arange(self.frames) + 0.5) / FRAME_RATE


# --- the mouth ---------------------------------------------------------------------------------

# Visemes: phones that look alike, their dominance over neighbours, and the mouth shape.
SHAPES: tuple[tuple[str, float, dict[str, float]], ...] = (
    ("pbmɱ", 1.6, {"mouthPress": 0.40, "mouthRollLower": 0.28, "mouthRollUpper": 0.20}),
    ("βɸ", 1.4, {"jawOpen": 0.04, "mouthPress": 0.15, "mouthRollLower": 0.12}),
    ("fvʋ", 1.6, {"jawOpen": 0.06, "mouthRollLower": 0.55, "mouthUpperUp": 0.25}),
    ("θð", 0.9, {"jawOpen": 0.16, "tongueOut": 0.40, "mouthLowerDown": 0.20, "mouthUpperUp": 0.10}),
    ("tdnlɾrɲʎɬ", 0.7, {"jawOpen": 0.16, "mouthLowerDown": 0.22, "mouthStretch": 0.12,
                        "mouthUpperUp": 0.08}),
    ("sz", 1.0, {"jawOpen": 0.06, "mouthStretch": 0.30, "mouthLowerDown": 0.30,
                 "mouthUpperUp": 0.16, "mouthSmile": 0.10}),
    ("ʃʒʂʐɕʑ", 1.5, {"jawOpen": 0.10, "mouthFunnel": 0.60, "mouthPucker": 0.30,
                     "mouthLowerDown": 0.20, "mouthUpperUp": 0.15}),
    ("kgɡŋhxçɣʁχʀħcɟ", 0.5, {"jawOpen": 0.22, "mouthLowerDown": 0.15}),
    ("ɹ", 1.0, {"jawOpen": 0.16, "mouthFunnel": 0.34, "mouthPucker": 0.30}),
    ("ɜɚɝ", 1.0, {"jawOpen": 0.28, "mouthFunnel": 0.28, "mouthPucker": 0.22}),
    ("wuʊyʏɥʉ", 1.5, {"jawOpen": 0.12, "mouthPucker": 0.95, "mouthFunnel": 0.30}),
    ("jiɪɨ", 1.0, {"jawOpen": 0.20, "mouthStretch": 0.30, "mouthSmile": 0.32,
                   "mouthLowerDown": 0.22, "mouthUpperUp": 0.12}),
    ("eɛ", 1.0, {"jawOpen": 0.42, "mouthStretch": 0.24, "mouthSmile": 0.22,
                 "mouthLowerDown": 0.26, "mouthUpperUp": 0.12}),
    ("æ", 1.1, {"jawOpen": 0.58, "mouthStretch": 0.24, "mouthSmile": 0.20,
                "mouthLowerDown": 0.28, "mouthUpperUp": 0.14}),
    ("aɑʌ", 1.1, {"jawOpen": 0.64, "mouthLowerDown": 0.22, "mouthUpperUp": 0.10}),
    ("əɐᵊɤɯ", 0.7, {"jawOpen": 0.28, "mouthLowerDown": 0.14}),
    ("ɔoɒ", 1.2, {"jawOpen": 0.44, "mouthFunnel": 0.46, "mouthPucker": 0.50}),
    ("øœɵ", 1.2, {"jawOpen": 0.30, "mouthFunnel": 0.42, "mouthPucker": 0.50}),
)  # fmt: skip

CLOSED = "pbmɱ"
CLOSED_SECONDS = 1.4 / FRAME_RATE  # at least one frame is closed, wherever the phone begins
REST_SMILE = 0.03  # mean weight; the rest shape of these lips already turns up a little
ROUNDING = ("mouthPucker", "mouthFunnel")  # lips that are rounded do not smile


def _shape_rows() -> dict[str, tuple[float, Signal]]:
    rows: dict[str, tuple[float, Signal]] = {}
    for phones, dominance, shape in SHAPES:
        row = np.zeros(len(FACE_UNITS))
        for name, weight in shape.items():
            sides = ("Left", "Right") if name in _BOTH_SIDES else ("",)
            for side in sides:
                row[UNIT[name + side]] = weight
        rows |= {phone: (dominance, row) for phone in phones}
    return rows


_SHAPE = _shape_rows()
_OPENING = [
    UNIT[n]
    for n in ("jawOpen", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft",
              "mouthUpperUpRight", "tongueOut")
]  # fmt: skip


def ease(x: Signal) -> Signal:
    """Minimum-jerk transition from 0 to 1 (10 x^3 - 15 x^4 + 6 x^5)."""
    x = np.clip(x, 0, 1)
    return x * x * x * (10 - 15 * x + 6 * x * x)


def bump(times: Signal, middle: float, width: float) -> Signal:
    """Gaussian bump of height 1."""
    return np.exp(-(((times - middle) / width) ** 2))


def clauses(phones: Sequence[Phone], *, gap: float = 0.3) -> list[tuple[Phone, ...]]:
    """Split phones into runs separated by silence of at least `gap` seconds."""
    runs: list[list[Phone]] = []
    for phone in sorted(phones, key=lambda p: p.start):
        if phone.symbol == SILENCE:
            continue
        if not runs or phone.start - runs[-1][-1].end > gap:
            runs.append([])
        runs[-1].append(phone)
    return [tuple(run) for run in runs]


def speaking(phones: Sequence[Phone], times: Signal, *, early: float, late: float) -> Signal:
    """Speech gate [T]: 1 in speech, 0 outside, with ramps of `early` and `late` seconds."""
    gate = np.zeros(len(times))
    for run in clauses(phones, gap=0.2):
        inside = ease((times - (run[0].start - early)) / early)
        inside *= ease((run[-1].end + late - times) / late)
        gate = np.maximum(gate, inside)
    return gate


def mouth(track: Track) -> NDArray[np.float64]:
    """Mouth units [T, U]: shapes blended by dominance, lips closed on p, b, m and in silence."""
    times = track.times
    total = np.zeros((track.frames, len(FACE_UNITS)))
    weight = np.full(track.frames, 0.05)
    shut = np.zeros(track.frames)
    for phone in track.person:
        strength, row = _SHAPE.get(phone.symbol, (0.35, np.zeros(len(FACE_UNITS))))
        middle, half = (phone.start + phone.end) / 2, (phone.end - phone.start) / 2
        first, last = np.searchsorted(times, [phone.start - 0.3, phone.end + 0.3])
        near = times[first:last]
        distance = np.maximum(0, np.abs(near - middle) - 0.5 * half)
        dominance = strength * np.exp(-((distance / (0.055 + 0.2 * half)) ** 1.6))
        total[first:last] += dominance[:, None] * row
        weight[first:last] += dominance
        if phone.symbol in CLOSED:
            plateau = max(half - 0.01, CLOSED_SECONDS / 2)
            closed = ease((plateau + 0.045 - np.abs(near - middle)) / 0.045)
            shut[first:last] = np.maximum(shut[first:last], closed)
    units = total / weight[:, None]
    units *= speaking(track.person, times, early=0.10, late=0.14)[:, None]
    units[:, UNIT["jawOpen"]] *= 0.6 + 0.6 * np.clip(track.loudness, 0, 1.2)
    units[:, _OPENING] *= (1 - shut)[:, None]
    return units


# --- the rest of the face ----------------------------------------------------------------------


def face(track: Track, rng: Generator) -> NDArray[np.float32]:
    """Face units [T, U] in [0, 1]: mouth, blinks, brows on stress, smiles while listening."""
    units = mouth(track)
    times = track.times
    _add(units, ("eyeBlinkLeft", "eyeBlinkRight"), blinks(times, rng))
    for phone in track.person:
        if phone.stressed and rng.random() < 0.35:
            lift = rng.uniform(0.25, 0.6) * bump(times, phone.start + 0.04, 0.17)
            _add(units, ("browInnerUp",), lift)
            _add(units, ("browOuterUpLeft", "browOuterUpRight"), 0.7 * lift)
    smile = smiles(track, rng) * (1 - rounding(units))
    _add(units, ("mouthSmileLeft", "mouthSmileRight"), smile)
    _add(units, ("cheekSquintLeft", "cheekSquintRight"), 0.5 * smile)
    return np.clip(units, 0, 1).astype(np.float32)


def rounding(units: NDArray[np.float64]) -> Signal:
    """Rounding of the lips, 0 to 1: units [T, U] -> [T]."""
    return np.clip(sum(units[:, UNIT[name]] for name in ROUNDING), 0, 1)


def _add(units: NDArray[np.float64], names: Sequence[str], signal: Signal) -> None:
    for name in names:
        units[:, UNIT[name]] += signal


def blinks(times: Signal, rng: Generator) -> Signal:
    """Blinks at random intervals, [T]."""
    signal = np.zeros(len(times))
    moment = rng.uniform(0.3, 3.0)
    while moment < times[-1]:
        signal = np.maximum(signal, bump(times, moment, 0.07))
        moment += 0.5 + rng.gamma(4, 0.8)
    return signal


def smiles(track: Track, rng: Generator) -> Signal:
    """Slowly varying faint smile, and a clear one at the end of each clause of the partner."""
    signal = REST_SMILE * (1 + np.sin(2 * np.pi * 0.04 * track.times + rng.uniform(0, 6.28)))
    for run in clauses(track.partner):
        if run[-1].end - run[0].start > 0.8:
            signal += rng.uniform(0.1, 0.4) * bump(track.times, run[-1].end, 0.6)
    return np.clip(signal, 0, 0.6)


# --- the body ----------------------------------------------------------------------------------


def pose_names() -> tuple[str, ...]:
    """Names of the 104 pose parameters, in order."""
    names = [f"root_{axis}" for axis in ("tx", "ty", "tz", "rx", "ry", "rz")]
    for part in ("spine_lower", "spine_mid", "spine_upper", "neck", "head"):
        names += [f"{part}_{axis}" for axis in ("rx", "ry", "rz")]
    for side in "LR":
        names += [f"clavicle_{side}_ry", f"clavicle_{side}_rz"]
        names += [f"shoulder_{side}_{axis}" for axis in ("ry", "rz", "rx")]
        names += [f"upperarm_{side}_twist", f"elbow_{side}_flex", f"forearm_{side}_twist"]
        names += [f"wrist_{side}_{axis}" for axis in ("rx", "ry", "rz")] + [f"palm_{side}_cup"]
        for finger in ("thumb", "index", "middle", "ring", "pinky"):
            names += [
                f"{finger}_{side}_{bend}" for bend in ("mcp_flex", "mcp_spread", "pip", "dip")
            ]
        names += [f"hip_{side}_{axis}" for axis in ("rx", "ry", "rz")] + [f"knee_{side}_rx"]
        names += [f"ankle_{side}_rx", f"ankle_{side}_ry", f"toe_{side}_rx"]
        names += [f"eye_{side}_rx", f"eye_{side}_ry"]
    return (*names, "breath")


POSE_NAMES = pose_names()
POSE = {name: i for i, name in enumerate(POSE_NAMES)}
ARMS = [
    i
    for i, name in enumerate(POSE_NAMES)
    if name.startswith(("shoulder", "elbow", "forearm", "wrist", "clavicle"))
]


@dataclass(frozen=True)
class Stroke:
    """Target of a gesture: key pose `pose`, scaled from rest by `amplitude`, reached at `time`."""

    time: float
    pose: str
    amplitude: float


def gestures(track: Track, rng: Generator) -> dict[str, list[Stroke]]:
    """Strokes per side: hands rise at the first stress of a clause and rest after it.

    Both hands take the same pose, but only one is at the chest, so that they do not meet there.
    """
    strokes: dict[str, list[Stroke]] = {"L": [], "R": []}
    for run in clauses(track.person, gap=0.45):
        stresses = [phone.start for phone in run if phone.stressed]
        if not stresses or run[-1].end - run[0].start < 0.6:
            continue
        hands = "LR" if rng.random() < 0.6 else ("R" if rng.random() < 0.65 else "L")
        latest = -9.0
        for moment in stresses:
            if moment - latest < 0.5:
                continue
            pose = str(rng.choice(["mid", "mid", "open", "open", "high", "low", "me", "pinch"]))
            if rng.random() < 0.06:
                pose = "point"
            for side in hands:
                lag = 0.04 if side == "L" else 0.0
                own = "low" if (pose, hands, side) == ("me", "LR", "L") else pose
                strokes[side].append(Stroke(moment + lag, own, rng.uniform(0.75, 1.05)))
            latest = moment
        for side in hands:
            strokes[side].append(Stroke(run[-1].end + rng.uniform(0.45, 0.8), "rest", 1.0))
    return strokes


def arm_path(times: Signal, strokes: Sequence[Stroke], keys: NDArray[np.float64],
             order: Mapping[str, int]) -> NDArray[np.float64]:  # fmt: skip
    """Minimum-jerk motion between key poses, [T, parameters]; moves do not overlap."""
    rest = keys[order["rest"]]
    path = np.repeat(rest[None], len(times), 0)
    current, free = rest, -1.0
    for stroke in sorted(strokes, key=lambda s: s.time):
        goal = rest + (keys[order[stroke.pose]] - rest) * stroke.amplitude
        seconds = float(np.clip(stroke.time - free, 0.3, 0.7))
        begin = max(stroke.time - seconds, free)
        path[times >= begin] = current + (goal - current) * ease(
            (times[times >= begin, None] - begin) / seconds
        )
        current, free = goal, begin + seconds
    return path


def body(track: Track, keys: PoseKeys, rng: Generator) -> NDArray[np.float32]:
    """Pose [T, P]: gestures while speaking, hands at rest while listening, head, gaze, breath."""
    times = track.times
    pose = np.zeros((track.frames, len(POSE_NAMES)))
    _move_arms(pose, track, keys, rng)
    nod, turn, tilt = head(track, rng)
    for part, share in (("head", 0.65), ("neck", 0.35)):
        for axis, signal in (("rx", nod), ("ry", turn), ("rz", tilt)):
            pose[:, POSE[f"{part}_{axis}"]] += share * signal
    pose[:, POSE["spine_upper_ry"]] += sway(times, 0.03, 0.07, rng) + 0.35 * turn
    pose[:, POSE["spine_lower_rx"]] += sway(times, 0.012, 0.09, rng)
    pose[:, POSE["spine_mid_rz"]] += sway(times, 0.015, 0.06, rng)
    pose[:, POSE["root_ry"]] += sway(times, 0.03, 0.05, rng)
    pose[:, POSE["root_tx"]] += sway(times, 0.06, 0.05, rng)
    pose[:, POSE["breath"]] = np.sin(2 * np.pi * 0.27 * times + rng.uniform(0, 6.28))
    across, down = gaze(track, rng)
    for side in "LR":
        pose[:, POSE[f"eye_{side}_ry"]] = across - 0.5 * turn
        pose[:, POSE[f"eye_{side}_rx"]] = down - 0.5 * nod
    return pose.astype(np.float32)


def _move_arms(pose: NDArray[np.float64], track: Track, keys: PoseKeys, rng: Generator) -> None:
    times = track.times
    strokes = gestures(track, rng)
    for side in "LR":
        poses = [name for name in keys if name.endswith(f"_{side}")]
        parameters = sorted({parameter for name in poses for parameter in keys[name]})
        table = np.array([[keys[name].get(p, 0.0) for p in parameters] for name in poses])
        order = {name[:-2]: i for i, name in enumerate(poses)}
        path = arm_path(times, strokes[side], table, order)
        path += 0.5 * sway(times, 0.012, 0.13, rng)[:, None]
        pose[:, [POSE[p] for p in parameters]] += path
        raised = gaussian_filter1d(
            (np.abs(path - table[order["rest"]]).sum(1) > 0.5).astype(float), 4
        )
        for phone in track.person:
            if phone.stressed:
                beat = rng.uniform(0.08, 0.22) * bump(times, phone.start + 0.04, 0.11)
                pose[:, POSE[f"elbow_{side}_flex"]] -= beat * raised
                pose[:, POSE[f"wrist_{side}_rz"]] += (
                    (1 if side == "L" else -1) * 0.5 * beat * raised
                )


def sway(times: Signal, amplitude: float, rate: float, rng: Generator) -> Signal:
    """Slow drift: three incommensurable sines around `rate` Hz, [T]."""
    waves = [np.sin(2 * np.pi * rate * k * times + rng.uniform(0, 6.28)) / k for k in (1, 1.7, 2.6)]
    return 0.5 * amplitude * np.sum(waves, 0)


def head(track: Track, rng: Generator) -> tuple[Signal, Signal, Signal]:
    """Nod, turn and tilt, [T] each: beats on stress, nods and a tilt while listening."""
    times = track.times
    nod, turn = sway(times, 0.03, 0.17, rng), sway(times, 0.06, 0.11, rng)
    for phone in track.person:
        if phone.stressed:
            beat = rng.uniform(0.03, 0.08)
            nod += beat * bump(times, phone.start + 0.04, 0.10)
            nod -= 0.5 * beat * bump(times, phone.start - 0.15, 0.12)
            turn += rng.normal(0, 0.03) * bump(times, phone.start, 0.3)
    for run in clauses(track.partner):
        nod += _listening_nods(times, run, rng)
    listening = speaking(track.partner, times, early=0.4, late=0.4)
    tilt = sway(times, 0.035, 0.13, rng) + 0.05 * gaussian_filter1d(listening, 10)
    return nod, turn, tilt


def _listening_nods(times: Signal, run: Sequence[Phone], rng: Generator) -> Signal:
    moments = [run[-1].end - 0.1] if rng.random() < 0.8 else []
    if run[-1].end - run[0].start > 2 and rng.random() < 0.6:
        moments.append((run[0].start + run[-1].end) / 2)
    nods = np.zeros(len(times))
    for moment in moments:
        since = times - moment
        nods += rng.uniform(0.08, 0.16) * bump(times, moment, 0.42) * np.sin(4.2 * np.pi * since)
    return nods


def gaze(track: Track, rng: Generator) -> tuple[Signal, Signal]:
    """Eye angles across and down, [T] each: on the partner, more often away during speech."""
    times = track.times
    own = speaking(track.person, times, early=0.2, late=0.2)
    across, down = np.zeros(len(times)), np.zeros(len(times))
    moment = 0.0
    while moment < times[-1]:
        seconds = 0.4 + rng.gamma(2, 0.8)
        span = (times >= moment) & (times < moment + seconds)
        away = span.any() and rng.random() < (0.35 if own[span].mean() > 0.5 else 0.1)
        across[span] = rng.normal(0, 0.16 if away else 0.03)
        down[span] = rng.normal(0, 0.07 if away else 0.02)
        moment += seconds
    return gaussian_filter1d(across, 0.8), gaussian_filter1d(down, 0.8)
