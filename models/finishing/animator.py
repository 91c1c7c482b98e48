"""Motion networks of a person with the finishing that she declares in `finishing.json`.

The file holds the parameters of each step by the name of the step. Steps of request fields may have
`usual`, the share of the trained amplitude that the value 1 stands for. A person without the file
has the motion of her networks, bit by bit.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

from contracts.person import CONTROLS, FINISHING
from models.checkpoint import CheckpointError
from models.finishing.amplitude import Expressiveness, Gestures
from models.finishing.expressions import Expressions
from models.finishing.eyes import Gaze, Lids
from models.finishing.hands import HandsApart, Rest
from models.finishing.holds import Holds
from models.finishing.idle import Idle
from models.finishing.lips import Lips
from models.finishing.listening import Listening
from models.finishing.nods import Nods
from models.finishing.rig import Rig, load_rig
from models.finishing.smoothing import Smoothing
from models.finishing.stages import Chain, Frames
from models.finishing.voices import Voices
from models.motion.pipeline import LIP_UNITS, Motion, MotionError, load_animator
from models.motion.sampling import no_progress
from models.motion.windows import WINDOWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Generator, Tensor

    from models.finishing.stages import Step
    from models.motion.pipeline import Animator, Networks, Sampling
    from models.motion.sampling import Progress
    from models.motion.windows import WindowConfig

    Make = Callable[[Rig, Generator, float, Mapping[str, Any]], Step]

USUAL = "usual"

# The steps in their order, in stages. Arguments: rig, random numbers, factor of a control,
# parameters.
STAGES: Sequence[Mapping[str, Make]] = (
    {
        "lips": lambda rig, _, __, values: Lips(rig.units, **values),
        "smoothing": lambda rig, _, __, values: Smoothing(values, rig.parameters),
    },
    {
        "rest": lambda rig, _, __, values: Rest(rig.parameters, **values),
        "holds": lambda rig, random, _, values: Holds(rig.parameters, random, **values),
        "listening": lambda rig, _, __, values: Listening(rig.parameters, **values),
        "nods": lambda rig, random, _, values: Nods(rig.parameters, rig.units, random, **values),
        "expressions": lambda rig, random, _, values: Expressions(rig.units, random, **values),
    },
    {
        "expressiveness": lambda rig, _, factor, values: Expressiveness(
            rig.parameters, rig.units, factor, **values
        ),
        "gestures": lambda rig, _, factor, values: Gestures(
            rig.parameters, rig.skeleton, rig.joints, factor, **values
        ),
    },
    {
        "idle": lambda rig, random, _, values: Idle(rig.parameters, random, **values),
        "hands": lambda rig, _, __, values: HandsApart(
            rig.parameters, rig.skeleton, rig.joints, **values
        ),
        "gaze": lambda rig, random, _, values: Gaze(rig.parameters, rig.units, random, **values),
        "lids": lambda rig, random, _, values: Lids(rig.parameters, rig.units, random, **values),
    },
)
STEPS = [name for stage in STAGES for name in stage]


class Finishing:
    """The declared steps of a person."""

    def __init__(self, rig: Rig, steps: Mapping[str, Mapping[str, Any]]) -> None:
        """steps: parameters by the name of a step. Raises: ValueError: for an unknown step."""
        if unknown := sorted(set(steps) - set(STEPS)):
            raise ValueError(f"{', '.join(unknown)}: unknown; choose from {', '.join(STEPS)}")
        self.rig, self._steps = rig, steps
        self.hears = self.take(0, {}).hears  # checks all parameters

    def supports(self, control: str) -> bool:
        """Check whether a request may set `expressiveness` or `gestures`."""
        return control in self._steps

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the declared steps."""
        return tuple(self._steps)

    def parameters(self, step: str) -> Mapping[str, Any]:
        """Parameters of a step; empty without it."""
        return self._steps.get(step, {})

    def take(self, seed: int, controls: Mapping[str, float]) -> TakeFinishing:
        """Return the steps of one take, at its first frame.

        Raises: ValueError: when a step has other parameters.
        """
        factors = {name: self._factor(name, controls) for name in self._steps}
        stages = [
            [
                self._step(name, make, seed, factors[name])
                for name, make in stage.items()
                if name in factors and (name not in CONTROLS or factors[name] != 1)
            ]
            for stage in STAGES
        ]
        return TakeFinishing(self.rig, Chain(stages))

    def _factor(self, name: str, controls: Mapping[str, float]) -> float:
        """Amplitude of a control, relative to the trained one."""
        usual = self._steps[name].get(USUAL, 1.0) if name in CONTROLS else 1.0
        if isinstance(usual, bool) or not isinstance(usual, (int, float)) or not 0 < usual <= 1:
            raise ValueError(f"{name}: {USUAL} must be above 0 and at most 1 ({usual!r})")
        return controls.get(name, 1.0) * usual

    def _step(self, name: str, make: Make, seed: int, factor: float) -> Step:
        digest = hashlib.sha256(f"{name}/{seed}".encode()).digest()
        random = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
        values = dict(self._steps[name])
        if name in CONTROLS:
            values.pop(USUAL, None)
        try:
            return make(self.rig, random, factor, values)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{name}: invalid parameters ({error})") from error


class TakeFinishing:
    """The steps of one take."""

    def __init__(self, rig: Rig, chain: Chain) -> None:
        self._rig, self._chain = rig, chain
        self.hears = chain.hears  # frames of voices after the motion of a block
        self._faces: Tensor = torch.zeros(0, len(rig.face_basis))  # of frames in the chain
        self._units: Tensor = torch.zeros(0, len(rig.units))

    def push(self, motion: Motion, voices: Tensor, *, last: bool) -> Motion:
        """Take the next frames and return those that are finished.

        voices: [V, 2] 1 where the person and the partner speak, of these frames and of those after
        them that are known already; with `hears` of them, no frame waits for them.
        """
        basis = self._rig.face_basis
        units = motion.face @ basis
        self._faces = torch.cat([self._faces, motion.face])
        self._units = torch.cat([self._units, units])
        lips = torch.zeros(len(units), 0) if motion.lips is None else motion.lips
        done = self._chain.push(Frames(units.clamp(0, 1), motion.pose, voices, lips), last=last)
        faces, self._faces = self._faces[: len(done)], self._faces[len(done) :]
        before, self._units = self._units[: len(done)], self._units[len(done) :]
        change = torch.where(done.units == before.clamp(0, 1), 0.0, done.units - before)
        return Motion(faces + change @ basis.T, done.pose)


class FinishedAnimator:
    """An animator whose motion is finished; `networks` gives the motion without."""

    def __init__(self, animator: Animator, finishing: Finishing | None) -> None:
        self.animator, self.finishing = animator, finishing
        self.max_frames = animator.max_frames  # frames that the networks take whole

    @property
    def networks(self) -> Networks:
        """The networks of the person."""
        return self.animator.networks

    @property
    def max_seconds(self) -> float:
        """Longest clip."""
        return self.animator.max_seconds

    def stream(
        self,
        chunks: Iterable[Tensor],
        sampling: Sampling,
        *,
        windows: WindowConfig = WINDOWS,
        progress: Progress = no_progress,
    ) -> Iterator[list[Motion]]:
        """Yield the motion of audio in parts, as `Animator.stream`.

        Finishing makes each part end some frames earlier, or empty, and adds one part for the rest.
        Raises: MotionError: also for a control that the person does not support.
        """
        takes = self._takes(sampling)
        if takes is None:
            yield from self.animator.stream(chunks, sampling, windows=windows, progress=progress)
            return
        heard = Voices()
        parts = self.animator.stream(
            heard.listen(chunks, ahead=takes[0].hears), sampling, windows=windows, progress=progress
        )
        ends: list[Motion] = []  # motion of no frames, as wide as that of the takes
        for part in parts:
            voices = heard.take(len(part[0].face))
            finished = [
                take.push(motion, voices, last=False)
                for take, motion in zip(takes, part, strict=True)
            ]
            ends = [motion[:0] for motion in part]
            yield finished
        rest = [
            take.push(empty, torch.zeros(0, 2), last=True)
            for take, empty in zip(takes, ends, strict=True)
        ]
        if len(rest[0].face):
            yield rest

    def count_parts(self, frames: int, sampling: Sampling) -> int:
        """Return how many parts with motion of the networks a clip has."""
        return self.animator.count_parts(frames, sampling)

    def animate(
        self,
        audio: Tensor,  # [n, 2] in [-1, 1]
        sampling: Sampling,
        *,
        progress: Progress = no_progress,
    ) -> list[Motion]:
        """Return one motion for each seed, as `Animator.animate`. Raises: as `stream`."""
        takes = self._takes(sampling)
        motions = self.animator.animate(audio, sampling, progress=progress)
        if takes is None:
            return motions
        heard = Voices()
        list(heard.listen([audio]))
        voices = heard.take(len(motions[0].face))
        return [
            take.push(motion, voices, last=True)
            for take, motion in zip(takes, motions, strict=True)
        ]

    def _takes(self, sampling: Sampling) -> list[TakeFinishing] | None:
        controls = {name: value for name, value in sampling.extra if name in CONTROLS}
        for name, value in controls.items():
            if value != 1 and not (self.finishing and self.finishing.supports(name)):
                raise MotionError(f"{name}: this person does not support it; leave it out")
        if self.finishing is None:
            return None
        return [self.finishing.take(seed, controls) for seed in sampling.seeds]


def load_finished_animator(
    person_folder: Path,
    *,
    device: torch.device,
    make: Callable[[Networks], Animator] | None = None,
) -> FinishedAnimator:
    """Load the motion networks and the finishing of a person.

    make: as in `load_animator`.
    Raises: CheckpointError: for damaged files. AvatarError: for a damaged avatar.
    """
    animator = load_animator(person_folder, device=device, make=make)
    finishing = load_finishing(person_folder)
    if finishing is not None:
        _check_lips(person_folder, animator.networks, finishing)
    return FinishedAnimator(animator, finishing)


def _check_lips(person_folder: Path, networks: Networks, finishing: Finishing) -> None:
    """Check that the step `lips` names the units of the regressor."""
    named = finishing.parameters("lips").get("regressed")
    network = networks.lip_units
    if named is None or (network is not None and tuple(named) == network.config.units):
        return
    found = "has none" if network is None else f"gives {', '.join(network.config.units)}"
    raise CheckpointError(
        f"{person_folder / FINISHING}: lips.regressed must name the units of {LIP_UNITS}, which "
        f"{found}; train it again with `python -m training lips`"
    )


def load_finishing(person_folder: Path) -> Finishing | None:
    """Load the finishing of a person; None without. Raises: as `load_finished_animator`."""
    path = person_folder / FINISHING
    if not path.is_file():
        return None
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
        return Finishing(load_rig(person_folder / "avatar.safetensors"), steps)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged ({error})") from error
