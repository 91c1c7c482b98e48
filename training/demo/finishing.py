"""Finishing of the demo person: `python -m training.demo.finishing --data DIR`.

Writes `finishing.json`, all of it, or with `--only lips` that step, or with `--only rules` what is
not measured. Cut-offs and the rest of the
hands are measured on samples of her networks beside the truth of a dataset; gaze, blinks, breath
and nods have the distributions of the rule that made the truth. Lips of a person with a lip
regressor are as large as those of the truth.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import avg_pool1d, max_pool1d

from contracts.files import write_atomically
from contracts.person import FINISHING
from models.finishing.lips import AROUND, closing
from models.finishing.rig import load_rig
from models.finishing.smoothing import Smoothing
from models.finishing.stages import RATE, Frames
from models.motion.lips import load_lip_units
from models.motion.pipeline import LIP_UNITS, load_animator
from training.commands.options import positive_float, positive_int
from training.data.features import load_extractor
from training.data.phones import PHONES, read_phones
from training.data.scenes import open_scenes
from training.demo.judge import judged_avatar, sample_clips
from training.demo.pose_keys import POSES
from training.demo.speech.motion_rules import POSE_NAMES
from training.evaluation.lip_measures import AROUND as TOLERANCE
from training.evaluation.lip_measures import CLASSES
from training.networks.lip_data import CLOSED_UNITS, OPENING
from training.person_directory import complete
from training.person_facts import DEMO_PERSON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from training.data.phones import TimedPhone
    from training.demo.judge import SampledClip

    Array = NDArray[np.floating]

CPU = torch.device("cpu")

# Starts of the names of parameters that share a cut-off.
SMOOTHED: Mapping[str, tuple[str, ...]] = {
    "head": ("head", "neck"),
    "spine": ("spine_upper",),
    "shoulders": ("clavicle", "shoulder", "upperarm"),
    "elbows": ("elbow", "forearm"),
    "wrists": ("wrist", "palm"),
    "fingers": ("thumb", "index", "middle", "ring", "pinky"),
}
ARM_GROUPS = ("shoulders", "elbows", "wrists", "fingers")
STILL = {"hip": 1.0, "knee": 1.0, "ankle": 1.0, "toe": 1.0}  # Hz; the truth does not move them
CUTOFFS = np.geomspace(0.5, 12.0, 40)  # Hz
BEYOND_KEYS = 0.2  # rad; an arm may go beyond the key poses by this
HEAD_LIMIT = {"rx": 0.4, "ry": 0.5, "rz": 0.3}  # rad, of head and neck each

HEAD = [f"{part}_{axis}" for part in ("head", "neck") for axis in HEAD_LIMIT]

# The distributions of `speech.motion_rules`.
IDLE: Mapping[str, Any] = {
    "breath_hz": 0.27,
    "sway": {
        name: (0.0, 0.1)
        for name in POSE_NAMES
        if name.startswith(("root", "spine")) and name != "spine_upper_ry"
    }
    | {
        "root_tx": (0.06, 0.05),
        "root_ry": (0.03, 0.05),
        "spine_lower_rx": (0.012, 0.09),
        "spine_mid_rz": (0.015, 0.06),
    },
    "life": {finger: (0.03, 0.13) for finger in SMOOTHED["fingers"]},
}
GAZE: Mapping[str, Any] = {
    "away_speaking": 0.35,
    "away_listening": 0.1,
    "near": (0.03, 0.02),
    "away": (0.16, 0.07),
    "shortest": 0.4,
    "scale": 0.8,
}
LIDS: Mapping[str, Any] = {
    "shortest": 0.5,
    "scale": 0.8,
    "follow_gaze": 1.2,
    "follow": {
        "eyeSquintLeft": ("mouthSmileLeft", 0.35),
        "eyeSquintRight": ("mouthSmileRight", 0.35),
        "mouthDimpleLeft": ("mouthSmileLeft", 0.2),
        "mouthDimpleRight": ("mouthSmileRight", 0.2),
        "eyeWideLeft": ("browInnerUp", 0.3),
        "eyeWideRight": ("browInnerUp", 0.3),
    },
}
HOLDS: Mapping[str, Any] = {
    "still": (0.4, 1.3),
    "raised": 0.5,
    "retract": {"shoulder": 0.07, "elbow": 0.35, "forearm": 0.2, "wrist": 0.4, "thumb": 0.2}
    | dict.fromkeys(("index", "middle", "ring", "pinky"), 0.3),
    "life": {"shoulder": (0.02, 0.19), "elbow": (0.04, 0.23), "wrist": (0.05, 0.27)},
}
EXPRESSIONS: Mapping[str, Any] = {
    "kinds": {
        "stress": {
            "units": {
                "browDownLeft": 0.40,
                "browDownRight": 0.40,
                "eyeSquintLeft": 0.20,
                "eyeSquintRight": 0.20,
                "noseSneerLeft": 0.10,
                "noseSneerRight": 0.10,
            },
            "when": "speaking",
            "every": 4.0,
            "lasts": (0.22, 0.45),
            "uneven": 0.25,
        },
        "brow": {
            "units": {"browOuterUpLeft": 0.25, "browOuterUpRight": 0.25, "browInnerUp": 0.06},
            "when": "speaking",
            "every": 5.0,
            "lasts": (0.18, 0.40),
            "uneven": 1.0,
        },
        "warmth": {
            "units": {
                "cheekSquintLeft": 0.35,
                "cheekSquintRight": 0.35,
                "mouthSmileLeft": 0.10,
                "mouthSmileRight": 0.10,
                "mouthDimpleLeft": 0.12,
                "mouthDimpleRight": 0.12,
            },
            "when": "speaking",
            "every": 6.0,
            "lasts": (0.30, 0.45),
            "uneven": 0.35,
        },
        "doubt": {
            "units": {
                "mouthFrownLeft": 0.28,
                "mouthFrownRight": 0.28,
                "mouthShrugLower": 0.30,
                "mouthShrugUpper": 0.12,
                "browInnerUp": 0.18,
            },
            "when": "listening",
            "every": 9.0,
            "lasts": (0.30, 0.45),
            "uneven": 0.35,
        },
        "aside": {
            "units": {
                "mouthLeft": 0.16,
                "mouthRight": 0.16,
                "mouthDimpleLeft": 0.30,
                "mouthDimpleRight": 0.30,
            },
            "when": "listening",
            "every": 8.0,
            "lasts": (0.25, 0.45),
            "uneven": 1.0,
        },
        "attention": {
            "units": {
                "browDownLeft": 0.28,
                "browDownRight": 0.28,
                "eyeSquintLeft": 0.22,
                "eyeSquintRight": 0.22,
                "cheekSquintLeft": 0.15,
                "cheekSquintRight": 0.15,
            },
            "when": "listening",
            "every": 6.0,
            "lasts": (0.35, 0.45),
            "uneven": 0.3,
        },
    },
}
NODS: Mapping[str, Any] = {
    "chance": 0.8,
    "amplitude": (0.08, 0.16),
    "smile": (0.05, 0.2),
    "clause": 0.8,
    "pause": 0.3,
}
# Starts of the names of units that no lip shape uses.
EXPRESSIVE = (
    *("brow", "cheek", "eyeSquint", "noseSneer"),
    *("mouthDimple", "mouthLeft", "mouthRight", "mouthShrug"),
)
LISTENING: Mapping[str, Any] = {"hold": 0.35, "shortest": 0.6, "arms": 0.07, "nods": 0.3}
LIPS: Mapping[str, Any] = {
    "opening": OPENING,
    "rounding": ("mouthFunnel", "mouthPucker"),
    "smiling": ("mouthSmile",),
}
GAINS = (1.0, 1.5)  # limits of the gains of lip units
LIMITS = np.geomspace(0.8, 0.02, 30)  # mean probabilities at which lips may be closed
BEGIN = 0.5  # of one, where they begin to close
RECALL = 0.94  # share of p, b, m on which lips close; higher ones close other phones, too
NEAR = 6  # frames; she speaks as near to open lips
FULLY = 0.9  # of a closure, which parts the lips by less than a millimetre
HANDS: Mapping[str, Any] = {"radius": 0.1, "palm": 0.18}
TRUNK = (2.2, 2.4)  # decimetres, half width and front; hands farther away are free
REST_WIDTH = 0.6  # rad


def mean_jerk(poses: Sequence[Array], columns: Sequence[int]) -> float:
    """Mean absolute third difference of some parameters."""
    return float(np.mean([np.abs(np.diff(pose[:, columns], 3, axis=0)).mean() for pose in poses]))


def cutoff(sampled: Sequence[Array], true: Sequence[Array], names: tuple[str, ...]) -> float | None:
    """Return the highest cut-off, in Hz, at which samples have no more jerk than the truth.

    None when they have no more without a filter.
    """
    columns = [i for i, name in enumerate(POSE_NAMES) if name.startswith(names)]
    limit = mean_jerk(true, columns)
    if mean_jerk(sampled, columns) <= limit:
        return None
    best = CUTOFFS[0]
    for each in CUTOFFS:
        step = Smoothing(dict.fromkeys(names, float(each)), POSE_NAMES)
        smooth = [_smoothed(step, pose) for pose in sampled]
        if mean_jerk(smooth, columns) > limit:
            break
        best = each
    return round(float(best), 2)


def _smoothed(step: Smoothing, pose: Array) -> Array:
    rows = torch.from_numpy(np.asarray(pose)).float()
    return step.apply(Frames(rows, rows, rows[:, :2], rows[:, :0]), 0, last=True).pose.numpy()


@dataclass(frozen=True)
class Measured:
    """Parameters that are measured on samples; the others are rules."""

    smoothing: Mapping[str, float]  # Hz
    rest: Mapping[str, float]  # sampled pose of the arms at rest, rad
    head: Mapping[str, float]  # mean pose of the head, rad

    @classmethod
    def of_clips(cls, clips: Sequence[SampledClip]) -> Measured:
        """Measure sampled clips with their truth."""
        sampled = [clip.pose for clip in clips]
        true = [clip.true_pose for clip in clips if clip.true_pose is not None]
        smoothing = dict(STILL)
        for names in SMOOTHED.values():
            if (found := cutoff(sampled, true, names)) is not None:
                smoothing |= dict.fromkeys(names, found)
        neutral = np.concatenate(true).mean(0)
        head = {name: round(float(neutral[POSE_NAMES.index(name)]), 4) for name in HEAD}
        return cls(smoothing, _listening_pose(clips, _arm_parameters()), head)

    @classmethod
    def of_steps(cls, steps: Mapping[str, Any]) -> Measured:
        """Read what an earlier run measured."""
        return cls(steps["smoothing"], steps["rest"]["sampled"], steps["expressiveness"]["head"])


def declared_steps(measured: Measured) -> dict[str, Any]:
    """Parameters of all steps besides `lips`."""
    keys = json.loads(POSES.read_text(encoding="utf-8"))
    rest = dict.fromkeys(_arm_parameters(), 0.0) | keys["rest_L"] | keys["rest_R"]
    limits = _arm_limits(keys)
    return {
        "smoothing": measured.smoothing,
        "idle": IDLE,
        "rest": {"sampled": measured.rest, "rest": rest, "width": REST_WIDTH},
        "holds": {"rest": rest, **HOLDS},
        "listening": {"rest": rest, **LISTENING},
        "nods": NODS,
        "expressions": EXPRESSIONS,
        "expressiveness": {
            "face": dict.fromkeys(EXPRESSIVE, 0.0),
            "shared": {"mouthSmile": 0.03, "mouthFrown": 0.0},
            "head": measured.head,
            "limits": {name: (-HEAD_LIMIT[name[-2:]], HEAD_LIMIT[name[-2:]]) for name in HEAD},
        },
        "gestures": {
            "rest": rest,
            "limits": {name: limits[name] for name in rest},
            "trunk": TRUNK,
        },
        "hands": {
            **HANDS,
            "limits": {
                name: limits[name] for name in limits if name.startswith(("shoulder", "elbow"))
            },
        },
        "gaze": GAZE,
        "lids": LIDS,
    }


def lip_steps(person: Path, data: Path) -> dict[str, Any]:
    """Parameters of the step `lips`: units as large as the true ones, and when lips close.

    They close at `RECALL` of p, b and m where scenes have phones, else as often as the true ones.
    Empty for a person without a regressor.
    """
    if not (person / LIP_UNITS).is_file():
        return {}
    network = load_lip_units(person / LIP_UNITS, device=CPU)
    extractor = load_extractor(person, device=CPU)
    rig = load_rig(person / "avatar.safetensors")
    names = network.config.units
    columns = [rig.units.index(name) for name in names]
    opening = [i for i, name in enumerate(rig.units) if name.startswith(OPENING)]
    regressed, true, closed, phones = [], [], [], []
    for scene in open_scenes(data):
        audio = extractor.normalise(scene.samples(0, scene.frames))
        with torch.no_grad():
            regressed.append(network.lips(extractor.speech(audio))[0])
        codes = torch.from_numpy(scene.codes(0, scene.frames)).float()
        units = (codes @ rig.face_basis).clamp(0, 1)
        true.append(units[:, columns])
        closed.append((units[:, opening].amax(1) < CLOSED_UNITS).float())
        path = data / f"{scene.name}{PHONES}"
        phones.append(read_phones(path) if path.is_file() else [])
    rows = torch.cat(regressed)  # [T, U + 1]
    probabilities = [each[:, -1] for each in regressed]
    limit = closing_limit(probabilities, phones) or equal_limit(probabilities, closed)
    opened = 1 - torch.cat(closed)
    speaks = max_pool1d(opened[None], 2 * NEAR + 1, 1, NEAR)[0] > 0
    gains, offsets = _matched(rows[speaks, :-1], torch.cat(true)[speaks])
    parameters: dict[str, Any] = {
        "regressed": names,
        "gains": dict(zip(names, gains, strict=True)),
        "offsets": dict(zip(names, offsets, strict=True)),
        "closed": (round(BEGIN * limit, 3), round(limit, 3)),
    }
    return {"lips": {**parameters, **LIPS}}


def closing_limit(
    probabilities: Sequence[Tensor],  # of scenes, [T] each
    phones: Sequence[Sequence[TimedPhone]],  # of the scenes
) -> float | None:
    """Highest mean probability at which lips close on `RECALL` of p, b, m; None without phones."""
    frames = [
        (scene, max(0, int((phone.start - TOLERANCE) * RATE)), int((phone.end + TOLERANCE) * RATE))
        for scene, of_scene in enumerate(phones)
        for phone in of_scene
        if phone.symbol in CLASSES["p b m"]
    ]
    if not frames:
        return None
    for limit in LIMITS:
        shut = [closing(each, BEGIN * limit, limit) for each in probabilities]
        closed = [bool((shut[scene][a : b + 1] > FULLY).any()) for scene, a, b in frames]
        if np.mean(closed) >= RECALL:
            break
    return float(limit)


def equal_limit(probabilities: Sequence[Tensor], closed: Sequence[Tensor]) -> float:
    """Mean probability that is exceeded as often as true lips are closed, 0 or 1, [T] each."""
    size = 2 * AROUND + 1
    means = torch.cat(
        [
            avg_pool1d(each[None], size, 1, AROUND, count_include_pad=False)[0]
            for each in probabilities
        ]
    )
    limit = means.quantile(1 - float(torch.cat(list(closed)).mean()))
    return float(limit.clamp(LIMITS[-1], LIMITS[0]))


def _matched(found: Tensor, true: Tensor) -> tuple[list[float], list[float]]:
    """Gains that give units [T, U] the true spread, and offsets that keep their mean, [U] each."""
    gains = (true.std(0) / found.std(0).clamp(min=1e-3)).clamp(*GAINS)
    offsets = (gains - 1) * found.mean(0)
    rounded = [round(each, 3) for each in offsets.tolist()]
    return [round(each, 2) for each in gains.tolist()], rounded


def _arm_parameters() -> list[str]:
    starts = tuple(start for group in ARM_GROUPS for start in SMOOTHED[group])
    return [name for name in POSE_NAMES if name.startswith(starts)]


def _arm_limits(keys: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Range of each parameter over the key poses, and some more."""
    values: dict[str, list[float]] = {name: [] for name in _arm_parameters()}
    for pose in keys.values():
        for name, angle in pose.items():
            values.setdefault(name, []).append(angle)
    return {
        name: (
            round(min(each, default=0.0) - BEYOND_KEYS, 4),
            round(max(each, default=0.0) + BEYOND_KEYS, 4),
        )
        for name, each in values.items()
    }


def _listening_pose(clips: Sequence[SampledClip], names: Sequence[str]) -> dict[str, float]:
    """Median of arm parameters over the frames in which only the partner speaks."""
    poses = []
    for clip in clips:
        own, other = clip.speech()
        poses.append(clip.pose[other & ~own])
    middle = np.median(np.concatenate(poses), axis=0)
    return {name: round(float(middle[POSE_NAMES.index(name)]), 4) for name in names}


def write_lips(person: Path, data: Path) -> Path:
    """Measure the step `lips`, and write finishing.json with it and person.json."""
    path = person / FINISHING
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"steps": {}}
    steps = {name: step for name, step in content["steps"].items() if name != "lips"}
    content["steps"] = lip_steps(person, data) | steps
    _write(path, content)
    complete(person)
    return path


def write_rules(person: Path) -> Path:
    """Write finishing.json with the rules of today and the measurements that it has."""
    path = person / FINISHING
    content = json.loads(path.read_text(encoding="utf-8"))
    lips = {name: step for name, step in content["steps"].items() if name == "lips"}
    content["steps"] = lips | declared_steps(Measured.of_steps(content["steps"]))
    _write(path, content)
    complete(person)
    return path


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with write_atomically(path) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_finishing(person: Path, data: Path, *, clips: int, seconds: float) -> Path:
    """Measure, and write finishing.json and person.json."""
    animator = load_animator(person, device=CPU)
    sampled = sample_clips(
        person, data, clips=clips, seconds=seconds, steps=None, seed=1,
        avatar=judged_avatar(person), animator=animator,
    )  # fmt: skip
    content = {
        "command": f"python -m training.demo.finishing --data DIR --clips {clips} "
        f"--seconds {seconds:g}, on conversations with a held-out voice",
        "steps": lip_steps(person, data) | declared_steps(Measured.of_clips(list(sampled))),
    }
    path = person / FINISHING
    _write(path, content)
    complete(person)
    return path


def main() -> None:
    """Write finishing.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of scenes; not with --only rules")
    parser.add_argument("--person", type=Path, default=DEMO_PERSON, help="person directory")
    parser.add_argument("--clips", type=positive_int, default=6, help="number of clips")
    parser.add_argument("--seconds", type=positive_float, default=20.0, help="length of a clip")
    parser.add_argument(
        "--only",
        choices=["lips", "rules"],
        help="lips: keep the other steps as they are; rules: keep lips and measurements",
    )
    arguments = parser.parse_args()
    if arguments.only == "rules":
        write_rules(arguments.person)
        return
    if arguments.data is None:
        parser.error("--data: required; pass the folder of scenes")
    if arguments.only:
        write_lips(arguments.person, arguments.data)
        return
    write_finishing(
        arguments.person, arguments.data, clips=arguments.clips, seconds=arguments.seconds
    )


if __name__ == "__main__":
    main()
