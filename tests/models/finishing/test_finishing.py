"""Finishing of the demo person, on synthetic motion: no network runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.person import CONTROLS, FINISHING
from models.checkpoint import CheckpointError
from models.finishing.animator import (
    FinishedAnimator,
    Finishing,
    load_finished_animator,
    load_finishing,
)
from models.finishing.expressions import Expressions
from models.finishing.holds import Holds
from models.finishing.listening import Listening
from models.finishing.smoothing import Smoothing
from models.finishing.stages import Frames
from models.finishing.voices import Voices
from models.motion.pipeline import Motion, MotionError, Sampling
from tests import tiny_person
from training.demo.body_measures import (
    GROUPS,
    Hands,
    blinks,
    gaze_spread,
    jerk,
    nod_energy,
    saccades,
)
from training.demo.judge import judged_avatar
from training.demo.speech.motion_rules import ARMS, POSE, POSE_NAMES, UNIT

DEMO = Path(__file__).parents[3] / "people" / "demo"
SAM = DEMO.with_name("sam")
CPU = torch.device("cpu")
SAMPLING = Sampling((3, 4), 2, guidance_face=1.5, guidance_body=1.5, diversity=0.9)
LIP_NAMES = ("jawOpen", "mouthFunnel", "mouthPucker", "mouthPressLeft")
LIPS = [UNIT[name] for name in LIP_NAMES]
SPEECH = slice(60, 240)  # frames in which she speaks; then the partner until `CUE`
CUE = 400
HEAD = [POSE[f"{part}_{axis}"] for part in ("head", "neck") for axis in ("rx", "ry", "rz")]


@pytest.fixture(scope="module")
def finishing() -> Finishing:
    loaded = load_finishing(DEMO)
    assert loaded is not None
    return loaded


@pytest.fixture(scope="module")
def steps() -> dict[str, dict[str, dict[str, float]]]:
    content = json.loads((DEMO / FINISHING).read_text(encoding="utf-8"))
    return dict(content["steps"])


@pytest.fixture(scope="module")
def hands() -> Hands:
    return Hands.of(judged_avatar(DEMO))


def voices(frames: int = 500) -> torch.Tensor:
    """Turns: she, then the partner."""
    result = torch.zeros(frames, 2)
    result[SPEECH, 0] = 1
    result[250:CUE, 1] = 1
    return result


def moving(finishing: Finishing, steps: dict[str, dict[str, dict[str, float]]]) -> Motion:
    """Slow gestures from the sampled rest, a face that speaks and smiles, and tremble."""
    random = torch.Generator().manual_seed(2)
    frames = len(voices())
    at = torch.arange(frames)[:, None] / 30
    pose = torch.zeros(frames, 104)
    for name, angle in steps["rest"]["sampled"].items():
        pose[:, POSE[name]] = angle
    pose[:, ARMS] += 0.25 * torch.sin(1.9 * at + torch.arange(len(ARMS)))
    pose[:, HEAD] += 0.06 * torch.sin(2.5 * at + torch.arange(len(HEAD)))
    pose += 0.01 * torch.randn(pose.shape, generator=random)
    units = torch.zeros(frames, 52)
    units[:, LIPS] = 0.3 + 0.3 * torch.sin(15 * at)
    units[:, [UNIT["mouthSmileLeft"], UNIT["browInnerUp"]]] = 0.2 + 0.2 * torch.sin(1.3 * at)
    return Motion(units @ finishing.rig.face_basis.T, pose)


def finished(
    finishing: Finishing,
    motion: Motion,
    sizes: tuple[int, ...] = (),
    ahead: int = 0,
    **controls: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Units [T, 52] and pose [T, 104], from blocks of these sizes and the rest.

    ahead: frames of voices that are known after each block.
    """
    take, parts, start = finishing.take(7, controls), [], 0
    for size in sizes:
        part = slice(start, start + size)
        block = Motion(motion.face[part], motion.pose[part])
        parts.append(take.push(block, voices()[start : start + size + ahead], last=False))
        start += size
    rest = Motion(motion.face[start:], motion.pose[start:])
    parts.append(take.push(rest, voices()[start:], last=True))
    face = torch.cat([part.face for part in parts])
    return (face @ finishing.rig.face_basis).clamp(0, 1), torch.cat([part.pose for part in parts])


@pytest.fixture(scope="module")
def motion(finishing: Finishing, steps: dict[str, dict[str, dict[str, float]]]) -> Motion:
    return moving(finishing, steps)


@pytest.fixture(scope="module", params=[{}, {"expressiveness": 1.6, "gestures": 1.4}])
def controls(request: pytest.FixtureRequest) -> dict[str, float]:
    return dict(request.param)


@pytest.fixture(scope="module")
def whole(
    finishing: Finishing, motion: Motion, controls: dict[str, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    return finished(finishing, motion, **controls)


@pytest.mark.parametrize(
    ("sizes", "ahead"),
    [((240, 240), 0), ((7,) * 12, 0), ((1, 300, 199), 0), ((90, 240), 60), ((230, *(7,) * 8), 23)],
)
def test_the_result_does_not_depend_on_how_the_frames_are_cut(
    finishing: Finishing,
    motion: Motion,
    whole: tuple[torch.Tensor, torch.Tensor],
    sizes: tuple[int, ...],
    ahead: int,
    controls: dict[str, float],
) -> None:
    cut = finished(finishing, motion, sizes, ahead, **controls)
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("controls", "delay"), [({}, 60), ({"gestures": 1.4}, 84)])
def test_motion_whose_voices_are_known_ahead_is_late_by_its_own_frames_only(
    finishing: Finishing, motion: Motion, controls: dict[str, float], delay: int
) -> None:
    take = finishing.take(7, controls)
    block = Motion(motion.face[:120], motion.pose[:120])
    early = take.push(block, voices()[: 120 + take.hears], last=False)
    assert len(early.pose) >= 120 - delay
    late = finishing.take(7, controls).push(block, voices()[:120], last=False)
    assert len(late.pose) < len(early.pose)


def test_the_same_seed_gives_the_same_bits(finishing: Finishing, motion: Motion) -> None:
    for a, b in zip(finished(finishing, motion), finished(finishing, motion), strict=True):
        assert torch.equal(a, b)


def test_tremble_is_removed_and_slow_movement_stays() -> None:
    slow = torch.sin(2 * torch.pi * 0.4 * torch.arange(300) / 30)[:, None]
    tremble = 0.05 * (-1.0) ** torch.arange(300)[:, None]
    step = Smoothing({"head": 3.0}, ("head_rx", "breath"))
    pose = (slow + tremble).expand(-1, 2)
    result = step.apply(Frames(pose, pose, pose, pose[:, :0]), 0, last=True).pose
    torch.testing.assert_close(result[20:-20, :1], slow[20:-20], atol=0.02, rtol=0)
    assert torch.equal(result[:, 1], pose[:, 1])


def test_every_joint_group_is_calmer_than_the_sample(finishing: Finishing, motion: Motion) -> None:
    before = jerk(motion.pose.numpy())
    after = jerk(finished(finishing, motion)[1].numpy())
    for group in set(GROUPS) - {"eyes"}:
        assert after[group] < 0.5 * before[group], group


def test_a_control_of_one_is_the_same_as_none(finishing: Finishing, motion: Motion) -> None:
    one = finished(finishing, motion, expressiveness=1.0, gestures=1.0)
    for a, b in zip(finished(finishing, motion), one, strict=True):
        assert torch.equal(a, b)


def test_more_expressiveness_moves_face_and_head_more_and_not_the_lips(
    finishing: Finishing, motion: Motion
) -> None:
    faces, heads, lips = [], [], []
    for factor in (0.0, 0.5, 1.0, 1.5, 2.0):
        units, pose = finished(finishing, motion, expressiveness=factor)
        faces.append(float(units[:, UNIT["browInnerUp"]].std()))
        heads.append(float(pose[:, HEAD].std(0).mean()))
        lips.append(units[:, LIPS])
    assert faces == sorted(faces) and heads == sorted(heads)
    assert max(faces[0], heads[0]) < 1e-4
    assert faces[4] > 1.5 * faces[2] and heads[4] > 1.5 * heads[2]
    for each in lips:
        torch.testing.assert_close(each, lips[2], atol=1e-5, rtol=0)
    assert blinks(units.numpy()) == blinks(finished(finishing, motion)[0].numpy()) > 1


def test_more_gestures_move_the_arms_more_within_limits_and_apart(
    finishing: Finishing, motion: Motion, hands: Hands,
    steps: dict[str, dict[str, dict[str, float]]],
) -> None:  # fmt: skip
    rest, limits = steps["gestures"]["rest"], steps["gestures"]["limits"]
    arms = [POSE[name] for name in rest if not name.startswith(("thumb", "index"))]
    spreads = []
    for factor in (0.0, 0.5, 1.0, 1.5, 2.0):
        pose = finished(finishing, motion, gestures=factor)[1]
        spreads.append(float(pose[SPEECH][:, ARMS].std(0).mean()))
        assert (hands.inside(pose.numpy(), every=10) > 0.01).mean() <= 0.02
        if factor == 0:
            still = torch.tensor([rest[POSE_NAMES[arm]] for arm in arms])
            assert float((pose[:, arms] - still).abs().max()) < 0.1  # the life of fingers
    assert spreads == sorted(spreads)
    assert spreads[4] > 1.05 * spreads[2]
    before = finished(finishing, motion)[1]
    for name in rest:
        if name.startswith(("shoulder", "elbow", "forearm", "wrist")):
            low, high = limits[name]  # type: ignore[misc]
            column = POSE[name]
            assert float(pose[:, column].max()) <= max(high, float(before[:, column].max())) + 1e-4
            assert float(pose[:, column].min()) >= min(low, float(before[:, column].min())) - 1e-4


def test_gaze_and_blinks_have_the_rates_of_the_rule(finishing: Finishing) -> None:
    minutes = 6
    frames = minutes * 60 * 30
    still = Motion(torch.zeros(frames, 256), torch.zeros(frames, 104))
    done = finishing.take(11, {}).push(still, torch.zeros(frames, 2), last=True)
    units = (done.face @ finishing.rig.face_basis).clamp(0, 1).numpy()
    assert blinks(units) / minutes == pytest.approx(16.2, rel=0.25)
    assert 10 < saccades(done.pose.numpy()) / minutes < 30
    assert 0.02 < gaze_spread(done.pose.numpy()) < 0.08


def test_hands_that_rest_in_each_other_come_apart(
    finishing: Finishing, hands: Hands, steps: dict[str, dict[str, dict[str, float]]]
) -> None:
    crossing = torch.zeros(120, 104)
    for name, angle in steps["rest"]["rest"].items():
        crossing[:, POSE[name]] = angle
    turn = torch.linspace(0, 0.5, 120)
    crossing[:, POSE["shoulder_L_ry"]] += turn * 0.6
    crossing[:, POSE["shoulder_R_ry"]] -= turn * 0.6
    for name in ("wrist_L_ry", "wrist_R_ry"):
        crossing[:, POSE[name]] += turn * (1 if "_L_" in name else -1)
    speaking = torch.ones(120, 2)
    done = finishing.take(1, {}).push(Motion(torch.zeros(120, 256), crossing), speaking, last=True)
    assert (hands.inside(done.pose.numpy(), every=4) > 0.01).mean() == 0


def test_she_nods_after_the_partner_and_hands_rest_while_he_speaks(
    finishing: Finishing, motion: Motion
) -> None:
    still = Motion(motion.face, motion.pose.clone())
    still.pose[:, HEAD] = 0
    nods = 0
    for seed in range(8):
        pose = finishing.take(seed, {}).push(still, voices(), last=True).pose
        pitch = pose[:, POSE["head_rx"]].abs()
        assert float(pitch[:330].max()) < 0.01
        nods += float(pitch[CUE - 30 : CUE + 30].max()) > 0.03
        speed = np.abs(np.diff(pose[:, ARMS].numpy(), axis=0)).mean(1)
        assert speed[80:220].mean() > 6 * speed[290:480].mean()
    assert 4 <= nods <= 8


@pytest.mark.parametrize(("spoken", "lifted"), [(12, False), (40, True)])
def test_a_short_word_lifts_no_hand(
    steps: dict[str, dict[str, dict[str, float]]], spoken: int, lifted: bool
) -> None:
    pose = torch.full((300, len(POSE_NAMES)), 0.9)
    heard = torch.zeros(300, 2)
    heard[100 : 100 + spoken, 0] = 1
    heard[106:109, 0] = 0  # between two words
    away = (listened(steps, pose, heard) - pose)[:, ARMS].norm(dim=1)
    resting = float(away[0])
    assert (float(away[100 : 100 + spoken].min()) < 0.05 * resting) == lifted
    assert float(away[250:].min()) > 0.99 * resting


def test_hands_rise_shortly_before_speech_and_sink_shortly_after(
    steps: dict[str, dict[str, dict[str, float]]],
) -> None:
    pose = torch.full((300, len(POSE_NAMES)), 0.9)
    heard = torch.zeros(300, 2)
    heard[100:200, 0] = 1
    away = (listened(steps, pose, heard) - pose)[:, ARMS].norm(dim=1)
    lifted = 1 - away / away[0]  # 0 at rest, 1 as sampled
    assert float(lifted[[80, 220]].max()) < 0.05  # two thirds of a second
    assert 0.3 < float(lifted[[90, 209]].min()) < 0.7
    assert float(lifted[100:200].min()) > 0.95


def listened(
    steps: dict[str, dict[str, dict[str, float]]], pose: torch.Tensor, heard: torch.Tensor
) -> torch.Tensor:
    """Pose [T, P] after the step `listening`, while person and partner speak as heard [T, 2]."""
    step = Listening(POSE_NAMES, **steps["listening"])  # type: ignore[arg-type]
    frames = Frames(torch.zeros(len(pose), 52), pose, heard, torch.zeros(len(pose), 0))
    return step.apply(frames, 0, last=True).pose


def test_held_gestures_sink_and_live_and_rest_is_left_alone(finishing: Finishing) -> None:
    values = finishing.parameters("holds")
    rest = values["rest"]
    names = list(rest)
    judged = [i for i, name in enumerate(names) if name.startswith(("elbow_R", "wrist_R"))]
    held = torch.tensor(list(rest.values()))
    still = held.clone()
    held[judged] += 0.5
    share = torch.cat([torch.zeros(60), torch.linspace(0, 1, 12), torch.ones(100)])
    share = torch.cat([share, torch.linspace(1, 0, 12), torch.zeros(60)])[:, None]
    pose = torch.zeros(len(share), 104)
    columns = [POSE[name] for name in names]
    pose[:, columns] = still + share * (held - still)
    frames = Frames(pose[:, :1], pose, torch.zeros(len(pose), 2), pose[:, :0])
    step = Holds(POSE_NAMES, torch.Generator().manual_seed(1), **values)
    done = step.apply(frames, 0, last=True).pose
    distance = (done[:, columns] - still)[:, judged].norm(dim=1)
    before = (pose[:, columns] - still)[:, judged].norm(dim=1)
    assert (done[:50] - pose[:50]).abs().max() < 1e-3  # at rest
    assert (distance[62:70] - before[62:70]).abs().max() < 0.02  # a stroke keeps its path
    assert (distance[90:150] < 0.9 * before[90:150]).all()  # it sinks, and lifts again
    assert done[90:150, POSE["elbow_R_flex"]].std() > 2e-3
    assert (done[:, POSE["elbow_L_flex"]] - pose[:, POSE["elbow_L_flex"]]).abs().max() < 1e-3


def test_small_expressions_come_while_she_speaks_and_others_while_she_listens(
    finishing: Finishing,
) -> None:
    frames = 30 * 120
    still = Frames(
        torch.zeros(frames, 52), torch.zeros(frames, 104), torch.zeros(frames, 2),
        torch.zeros(frames, 0),
    )  # fmt: skip
    found = {}
    for name, speakers in {
        "speaking": (0,),
        "listening": (1,),
        "silence": (),
        "both": (0, 1),
    }.items():
        speaks = torch.zeros(frames, 2)
        speaks[:, list(speakers)] = 1
        values = finishing.parameters("expressions")
        step = Expressions(finishing.rig.units, torch.Generator().manual_seed(1), **values)
        found[name] = step.apply(replace(still, voices=speaks), 0, last=True).units
    used = {name: {finishing.rig.units[i] for i in units.amax(0).nonzero()[:, 0].tolist()}
            for name, units in found.items()}  # fmt: skip
    assert used["both"] == used["speaking"] and not used["silence"]
    assert "mouthShrugLower" in used["listening"] - used["speaking"]
    assert "noseSneerLeft" in used["speaking"] - used["listening"]
    assert not {name for units in used.values() for name in units if name in LIP_NAMES}
    frowns = found["speaking"][:, UNIT["browDownLeft"]] > 0.15
    assert 12 <= int((frowns.int().diff() == 1).sum()) <= 45  # every 4 s on average
    assert not torch.equal(
        found["speaking"][:, UNIT["browDownLeft"]], found["speaking"][:, UNIT["browDownRight"]]
    )


def test_the_second_person_moves_less_by_the_same_networks(
    finishing: Finishing, motion: Motion
) -> None:
    second = load_finishing(SAM)
    assert second is not None
    rates, spreads = [], []
    frames = 120 * 30
    voices = torch.zeros(frames, 2)
    voices[(torch.arange(frames) % 180) < 120, 1] = 1  # clauses of the partner
    still = Motion(torch.zeros(frames, 256), torch.zeros(frames, 104))
    for each in (finishing, second):
        done = each.take(3, {}).push(still, voices, last=True)
        pose = done.pose.numpy()
        nods = float(nod_energy(pose).mean())
        units = (done.face @ each.rig.face_basis).numpy()
        rates.append((blinks(units), saccades(pose), gaze_spread(pose), nods))
        units_of, arms = finished(each, motion)
        brows = float(units_of[:, UNIT["browInnerUp"]].std())
        spreads.append((float(arms[SPEECH][:, ARMS].std(0).mean()), brows))
        assert all(value > 0 for value in (*rates[-1], *spreads[-1]))
    for first, other in zip(rates[0][:2], rates[1][:2], strict=True):
        assert other < 0.85 * first
    assert abs(rates[1][3] / rates[0][3] - 1) > 0.1
    for first, other in zip(*spreads, strict=True):
        assert 0.5 * first < other < 0.97 * first


def test_voices_are_found_in_each_channel_and_crosstalk_is_not_speech() -> None:
    random = torch.Generator().manual_seed(1)
    audio = 1e-3 * torch.randn(48000 * 3, 2, generator=random)
    audio[48000:96000, 0] += 0.2 * torch.randn(48000, generator=random)
    audio[48000:96000, 1] += 0.02 * torch.randn(48000, generator=random)
    heard = Voices()
    assert torch.equal(torch.cat(list(heard.listen(audio.split(7001)))), audio)
    found = heard.take(100)
    assert found.shape == (100, 2)
    assert found[31:59, 0].all() and not found[:29].any() and not found[61:].any()
    assert not found[:, 1].any()


@pytest.mark.parametrize("ahead", [1, 30, 500])
def test_voices_are_heard_before_their_audio_is_passed_on(ahead: int) -> None:
    audio = torch.randn(48000 * 2, 2, generator=torch.Generator().manual_seed(1))
    heard, passed = Voices(), 0
    for chunk in heard.listen(audio.split(7001), ahead=ahead):
        assert torch.equal(chunk, audio[passed : passed + len(chunk)])
        passed += len(chunk)
        assert len(heard.take(0)) >= min(60, passed // 1600 + ahead)
    assert passed == len(audio)


def test_a_person_without_finishing_has_the_bits_of_her_networks(tmp_path: Path) -> None:
    person = tiny_person.write_tiny_person(tmp_path)
    animator = load_finished_animator(person, device=CPU)
    audio = 0.1 * torch.randn(48000 * 5, 2, generator=torch.Generator().manual_seed(0))
    raw = animator.animator.animate(audio, SAMPLING)
    for a, b in zip(raw, animator.animate(audio, SAMPLING), strict=True):
        assert torch.equal(a.face, b.face) and torch.equal(a.pose, b.pose)
    for control in CONTROLS:
        one = Sampling((1,), 1, 1.5, 1.5, 0.9, extra=((control, 1.0),))
        assert len(animator.animate(audio, one)) == 1
        two = Sampling((1,), 1, 1.5, 1.5, 0.9, extra=((control, 2.0),))
        with pytest.raises(MotionError, match=f"{control}: this person does not support it"):
            animator.animate(audio, two)
        with pytest.raises(MotionError, match="does not support it"):
            list(animator.stream([audio], two))


def test_a_long_clip_in_windows_is_the_clip_as_a_whole(finishing: Finishing) -> None:
    animator = FinishedAnimator(tiny_person.tiny_animator(), finishing)
    audio = 0.1 * torch.randn(48000 * 31, 2, generator=torch.Generator().manual_seed(0))
    whole = animator.animate(audio, SAMPLING)
    parts = list(animator.stream(audio.split(50_000), SAMPLING))
    for take, motion in enumerate(whole):
        pose = torch.cat([part[take].pose for part in parts])
        assert len(pose) == 31 * 30
        torch.testing.assert_close(pose, motion.pose, atol=2e-4, rtol=0)
    assert not torch.equal(whole[0].pose, whole[1].pose)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "damaged"), ('{"steps": {"polish": {}}}', "polish: unknown"),
     ('{"steps": {"hands": {}}}', "hands: invalid parameters"),
     ('{"steps": {"gestures": {"usual": 2}}}', "gestures: usual must be above 0 and at most 1")],
)  # fmt: skip
def test_a_damaged_file_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "avatar.safetensors").symlink_to(DEMO / "avatar.safetensors")
    (tmp_path / FINISHING).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_finishing(tmp_path)
