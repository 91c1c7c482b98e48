"""Looks of the people that this project makes: everything in which their avatars differ.

Colours are web colours, "D9A98C"; lengths are decimetres. Targets are weights of public-domain
deformations of the base mesh. Both people are mixes of averages of the source and resemble no real
person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Figure:
    """Shape of body and face."""

    macros: Mapping[str, float]  # averages of the source; origins add up to 1, and so do builds
    details: Mapping[str, float]
    mirrored: Mapping[str, float]  # applied to both sides, "{}" is "l" and "r"
    rest_face: Mapping[str, float]  # face units of the neutral face
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)  # to where the cameras look


@dataclass(frozen=True)
class Skin:
    """Colours of the skin and of what is painted on it."""

    base: tuple[str, str]  # patches of the first and the second
    blush: tuple[tuple[str, float, float | None, float, float, float], ...]
    # colour, strength, x outwards (None: in front of the eye), y from the eye, width, height
    ears: str
    nails: str
    lips: tuple[str, float]  # colour, strength
    freckles: float
    lashes: float  # darkness of the lash line
    beard: float  # darkness of stubble


@dataclass(frozen=True)
class Brows:
    """Painted eyebrows."""

    colour: str
    height: float  # above the eye
    arch: float
    width: float  # half of it, at the nose


@dataclass(frozen=True)
class Hair:
    """A shell over the scalp, whose strands run towards a point on its surface."""

    line: tuple[float, ...]  # height of the hairline above the eyes, at each of LINE_ANGLE
    thin: float  # thickness at the hairline
    thick: float  # what it gains above
    rise: float  # height over which it gains it
    crest: float  # further thickness on top of the head, at the forehead
    strands: tuple[tuple[int, float, float], ...]  # ridges: count, height, phase
    ridge: float  # height of a ridge
    bun: bool  # strands end in a bun, else at a whorl
    centre: tuple[float, float]  # of the bun or whorl: above the eyes, behind the head
    axis: tuple[float, float, float]
    colours: tuple[str, str]  # dark and light strands
    roots: str


@dataclass(frozen=True)
class Clothes:
    """A knitted sweater and trousers."""

    collar: float  # above the lowest joint of the neck
    wool: str
    rim: str  # collar, cuffs and hem
    trousers: str
    fold: float  # of the rims inwards
    cuff: float  # share of the rim's colour at the cuffs


@dataclass(frozen=True)
class Looks:
    """One person."""

    title: str
    figure: Figure
    skin: Skin
    brows: Brows
    iris: tuple[str, str, str]  # dark, light, outer ring
    hair: Hair
    clothes: Clothes


# Angles from straight ahead, in radians, at which hairlines are declared.
LINE_ANGLE = (0, 0.25, 0.55, 0.8, 1.0, 1.15, 1.35, 1.6, 1.9, 2.3, math.pi)

EARS = {
    "ears/{}-ear-flap-incr": 0.5,
    "ears/{}-ear-scale-decr": 0.5,
    "ears/{}-ear-trans-backward": 0.4,
    "ears/{}-ear-wing-decr": 0.3,
}

# Friendlier than the averages of the source; her neutral face is the faint smile of a listener.
DEMO = Looks(
    title="The demo person",
    figure=Figure(
        macros={
            "caucasian-female-young": 0.55,
            "asian-female-young": 0.25,
            "african-female-young": 0.20,
            "universal-female-young-averagemuscle-averageweight": 0.6,
            "universal-female-young-averagemuscle-minweight": 0.4,
        },
        details={
            "head/head-oval": 0.6,
            "head/head-fat-decr": 0.3,
            "head/head-scale-horiz-decr": 0.35,
            "chin/chin-width-decr": 0.3,
            "nose/nose-scale-horiz-decr": 0.35,
            "mouth/mouth-angles-up": 0.6,
            "torso/measure-shoulder-dist-decr": 0.5,
            "neck/measure-neck-height-decr": 0.25,
            "neck/neck-scale-horiz-decr": 0.6,
        },
        mirrored={
            "arms/{}-upperarm-shoulder-muscle-decr": 0.5,
            "arms/{}-upperarm-fat-decr": 0.5,
            "eyes/{}-eye-scale-incr": 0.35,
            **EARS,
        },
        rest_face={
            "mouthSmileLeft": 0.24,
            "mouthSmileRight": 0.23,
            "eyeSquintLeft": 0.15,
            "eyeSquintRight": 0.15,
            "eyeBlinkLeft": 0.05,
            "eyeBlinkRight": 0.05,
        },
    ),
    skin=Skin(
        base=("E0B095", "CF9678"),
        blush=(
            ("D07A66", 0.38, 0.42, -0.42, 0.22, 0.20),
            ("CC7866", 0.26, 0.0, -0.42, 0.12, 0.12),
            ("C98470", 0.14, 0.0, -0.95, 0.20, 0.12),
            ("A8705C", 0.26, None, 0.10, 0.20, 0.09),
            ("B47C64", 0.15, None, -0.13, 0.17, 0.06),
        ),
        ears="C0776A",
        nails="E8BDAE",
        lips=("BC5F5B", 0.78),
        freckles=0.4,
        lashes=1.0,
        beard=0.0,
    ),
    brows=Brows(colour="4A3020", height=0.215, arch=0.05, width=0.046),
    iris=("53361F", "8F6A3C", "2A1B10"),
    hair=Hair(
        line=(0.80, 0.79, 0.70, 0.50, 0.22, 0.0, -0.06, -0.02, -0.35, -0.62, -0.72),
        thin=0.008,
        thick=0.17,
        rise=0.45,
        crest=0.0,
        strands=((23, 0.5, 0.3), (41, 0.3, 1.7), (67, 0.25, 2.9), (11, 0.5, 0.8)),
        ridge=0.011,
        bun=True,
        centre=(0.35, 0.10),
        axis=(0.0, 0.10, -1.0),
        colours=("3A2418", "7A5034"),
        roots="3B261B",
    ),
    clothes=Clothes(
        collar=0.16, wool="2F6A7C", rim="265868", trousers="2B2E38", fold=0.14, cuff=0.85
    ),
)

# Broader than she, with a stronger jaw, short dark hair and stubble.
SAM = Looks(
    title="Sam, the second demo person",
    figure=Figure(
        macros={
            "caucasian-male-young": 0.35,
            "asian-male-young": 0.20,
            "african-male-young": 0.45,
            "universal-male-young-averagemuscle-averageweight": 0.6,
            "universal-male-young-averagemuscle-minweight": 0.4,
            "height/male-young-averagemuscle-averageweight-minheight": 0.45,
        },
        details={
            "head/head-rectangular": 0.35,
            "head/head-fat-decr": 0.2,
            "head/head-scale-horiz-incr": 0.25,
            "head/head-scale-vert-incr": 0.25,
            "head/head-scale-depth-incr": 0.25,
            "chin/chin-width-incr": 0.2,
            "nose/nose-scale-horiz-decr": 0.2,
            "mouth/mouth-angles-up": 0.5,
            "torso/measure-shoulder-dist-decr": 0.6,
            "neck/neck-scale-horiz-decr": 0.3,
        },
        mirrored={
            "arms/{}-upperarm-shoulder-muscle-decr": 0.6,
            "eyes/{}-eye-scale-incr": 0.45,
            **EARS,
        },
        rest_face={
            "mouthSmileLeft": 0.14,
            "mouthSmileRight": 0.17,
            "eyeSquintLeft": 0.08,
            "eyeSquintRight": 0.08,
        },
        shift=(0.0, -0.08, -0.14),
    ),
    skin=Skin(
        base=("92694F", "7E583F"),
        blush=(
            ("84503F", 0.28, 0.42, -0.42, 0.22, 0.20),
            ("804D3D", 0.22, 0.0, -0.42, 0.12, 0.12),
            ("6B4434", 0.30, None, 0.10, 0.20, 0.09),
            ("6E4838", 0.22, None, -0.13, 0.17, 0.06),
        ),
        ears="82503F",
        nails="B98F7C",
        lips=("7C4840", 0.60),
        freckles=0.0,
        lashes=0.75,
        beard=0.38,
    ),
    brows=Brows(colour="22170F", height=0.20, arch=0.03, width=0.058),
    iris=("2E1C12", "5A3B22", "170E09"),
    hair=Hair(
        line=(0.72, 0.73, 0.73, 0.60, 0.36, 0.08, -0.20, -0.24, -0.30, -0.50, -0.58),
        thin=0.008,
        thick=0.09,
        rise=0.40,
        crest=0.07,
        strands=((31, 0.5, 0.4), (53, 0.4, 1.1), (83, 0.35, 2.3), (17, 0.4, 0.2)),
        ridge=0.009,
        bun=False,
        centre=(0.70, -0.10),
        axis=(0.0, 0.35, -0.95),
        colours=("241811", "4C3526"),
        roots="22170F",
    ),
    clothes=Clothes(
        collar=0.14, wool="6A3636", rim="552B2B", trousers="2E2A27", fold=0.26, cuff=0.30
    ),
)

LOOKS: Mapping[str, Looks] = {"demo": DEMO, "sam": SAM}
