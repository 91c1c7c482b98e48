"""The regressor of lip units: sizes, reach, files, and its part in windows."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.checkpoint import CheckpointError
from models.motion.lips import (
    EXCERPT,
    LipUnits,
    LipUnitsConfig,
    closed_in_quieter,
    load_lip_units,
    louder_wider,
    rested,
    write_lip_units,
)
from models.motion.pipeline import Animator, Motion, Sampling
from models.motion.sampling import joined
from models.motion.speech import band_centres, scale_frequencies
from models.motion.windows import WindowConfig
from tests import tiny_person

UNITS = ("jawOpen", "mouthPucker")
CONFIG = LipUnitsConfig(tiny_person.AUDIO, UNITS, width=8, first_kernel=3, dilations=(1, 2))
REACH = 1 + 1 + 2  # frames
FEW = Sampling((1, 2), 2, 1.5, 1.5, 0.9, "unipc")
SMALL = WindowConfig(hop=60, overlap=30, moves=1, start=60)


def network(config: LipUnitsConfig = CONFIG) -> LipUnits:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return LipUnits(config).eval()


def animator() -> Animator:
    networks = replace(tiny_person.tiny_networks(), lip_units=network())
    return Animator(networks, device=torch.device("cpu"))


def audio(frames: int) -> torch.Tensor:
    return 0.1 * torch.randn(1600 * frames, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("own", "partner", "share"),
    [
        (0.02, 1.0, 0.0),  # the partner in her microphone, 34 dB weaker
        (0.02, 0.0, 1.0),  # a quiet recording
        (0.2, 1.0, 1.0),  # both at once
        (0.0, 1.0, 0.0),
    ],
)
def test_lips_are_at_rest_where_only_the_partner_is_heard(
    own: float, partner: float, share: float
) -> None:
    sound = audio(60)
    lips = torch.rand(60, 4)
    found = rested(lips, torch.stack([own * sound[:, 1], partner * sound[:, 1]], dim=1))
    torch.testing.assert_close(found[:, :3], share * lips[:, :3])
    assert torch.equal(found[:, 3], lips[:, 3])


def test_lips_move_from_before_a_voice_until_after_it() -> None:
    sound = audio(90)
    sound[: 1600 * 40, 0] *= 0.02
    sound[1600 * 50 :, 0] *= 0.02
    found = rested(torch.ones(90, 2), sound)[:, 0]
    assert torch.equal(found[34:56], torch.ones(22))
    assert not found[:29].any()
    assert not found[61:].any()
    assert (found[29:35].diff() >= 0).all()


@torch.no_grad()
def test_units_are_weights_and_the_last_column_a_probability() -> None:
    rows = 5 * torch.randn(2, 40, tiny_person.AUDIO)
    lips = network().lips(rows)
    assert lips.shape == (2, 40, len(UNITS) + 1)
    assert float(lips.min()) >= 0
    assert float(lips.max()) <= 1


@torch.no_grad()
def test_a_frame_depends_on_rows_near_it_of_the_persons_channel_only() -> None:
    rows = torch.randn(1, 60, tiny_person.AUDIO)
    partner, far, near = rows.clone(), rows.clone(), rows.clone()
    partner[..., tiny_person.AUDIO // 2 :] += 1
    far[:, 30 + REACH + 1 :] += 1
    near[:, 30 + REACH] += 1
    lips = network()
    before = lips.lips(rows)
    assert torch.equal(lips.lips(partner), before)
    torch.testing.assert_close(lips.lips(far)[:, 30], before[:, 30])
    assert not torch.allclose(lips.lips(near)[:, 30], before[:, 30])


@torch.no_grad()
def test_the_summary_hears_all_of_the_clip_in_any_order() -> None:
    lips = network(replace(CONFIG, summary=True))
    rows = torch.randn(1, 60, tiny_person.AUDIO // 2)
    louder = rows.clone()
    louder[:, 50:] += 1
    whole, _ = lips(rows)
    assert not torch.allclose(lips(louder)[0][:, 10], whole[:, 10])
    part, _ = lips(rows[:, :30], rows.flip(1))
    torch.testing.assert_close(part[:, :20], whole[:, :20])


@torch.no_grad()
def test_lips_open_wider_in_louder_frames_but_not_on_average() -> None:
    rows = torch.zeros(1, 40, tiny_person.AUDIO // 2)
    rows[:, 20:] = -0.2  # 4 dB quieter
    units = torch.full((1, 40, 2), 0.3)
    louder = louder_wider(units, rows, replace(CONFIG, loudness=1.0))
    jaw, pucker = louder.unbind(-1)
    assert torch.equal(pucker, units[..., 1])
    assert float(jaw[0, 0] / jaw[0, 30]) == pytest.approx(10 ** (0.2 / 3))  # the cube root
    assert float(jaw.mean()) == pytest.approx(0.3)


def test_lips_stay_open_in_frames_as_loud_as_any_near() -> None:
    rows = torch.full((1, 60, 4), -3.0)  # a pause
    rows[:, 20:50] = 0.0
    rows[:, 30:33] = -0.3  # 6 dB quieter, as a closure is
    closed = closed_in_quieter(torch.full((1, 60), 0.8), rows)[0]
    assert not closed[20:30].any()
    torch.testing.assert_close(closed[30:33], torch.full((3,), 0.8))
    torch.testing.assert_close(closed[:14], torch.full((14,), 0.8))


@torch.no_grad()
def test_members_are_averaged_and_one_member_needs_no_other_names() -> None:
    several = network(replace(CONFIG, members=3, dropout=0.2))
    rows = torch.randn(1, 20, tiny_person.AUDIO // 2)
    alone = [member.units(member.hidden(rows, rows)) for member in several.members]
    units, closed = several(rows)
    torch.testing.assert_close(units, torch.stack([each[0] for each in alone]).mean(0))
    torch.testing.assert_close(closed, torch.stack([each[1] for each in alone]).mean(0))
    assert not torch.allclose(alone[0][0], alone[1][0])
    assert not any(name.startswith("others") for name in network().state_dict())


SCALES = (0.8, 1.0, 1.25)
NORMALISED = LipUnitsConfig(
    80, UNITS, width=1, dilations=(1,), scales=SCALES, phones=2, bands=40, lowest=60, highest=7600
)


def voice(hertz: float, frames: int) -> torch.Tensor:
    """Rows [1, T, 40] of a voice with one formant."""
    return torch.exp(-((12 * (band_centres(NORMALISED) / hertz).log()) ** 2)).expand(1, frames, -1)


def knows_formants_at(hertz: float) -> LipUnits:
    """Network that is sure of a phone in frames with a formant at this frequency."""
    lips, band = network(NORMALISED), int((band_centres(NORMALISED) - hertz).abs().argmin())
    lips.hidden = lambda rows, clip: rows[..., band, None]  # type: ignore[method-assign]
    assert lips.phones is not None
    lips.phones.weight.copy_(torch.tensor([[9.0], [0.0]]))
    lips.phones.bias.zero_()
    return lips


@torch.no_grad()
def test_each_clip_gets_the_scale_of_a_voice_whose_phones_are_known() -> None:
    voices = torch.cat([voice(1500 * scale, 20) for scale in SCALES])
    usual = knows_formants_at(1500).usual_voice(voices)
    expected = voice(1500, 20).expand_as(usual).argmax(-1)
    assert (usual.argmax(-1) - expected).abs().max() <= 1
    torch.testing.assert_close(usual[1], voices[1])


@torch.no_grad()
def test_the_loudest_seconds_tell_the_voice() -> None:
    quiet, loud = voice(1500 * SCALES[2], 400) - 1, voice(1500 * SCALES[0], EXCERPT)
    rows = torch.cat([quiet, loud, quiet], dim=1)
    usual = knows_formants_at(1500).usual_voice(rows)
    assert torch.equal(usual, scale_frequencies(rows, NORMALISED, torch.tensor(SCALES[:1])))


@torch.no_grad()
def test_without_phones_or_scales_voices_stay_as_they_are() -> None:
    rows = voice(1000, 9)
    assert network(replace(NORMALISED, phones=0)).usual_voice(rows) is rows
    assert network(replace(NORMALISED, scales=())).usual_voice(rows) is rows


@torch.no_grad()
def test_rows_below_the_floor_are_alike() -> None:
    rows = torch.randn(1, 30, tiny_person.AUDIO)
    quiet = torch.where(rows < CONFIG.floor, rows - 3, rows)
    assert (rows < CONFIG.floor).any()
    assert torch.equal(network().lips(quiet), network().lips(rows))


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \[B, T, 8\]"):
        network().lips(torch.zeros(1, 5, 6))


@pytest.mark.parametrize(
    "wrong",
    [
        {"audio_channels": 7},
        {"units": ()},
        {"first_kernel": 4},
        {"members": 0},
        {"dropout": 1.0},
        {"loudness": 2},
        {"scales": (0.9, 0.0)},
        {"phones": 3},
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]


def test_a_file_gives_the_same_network(tmp_path: Path) -> None:
    path = tmp_path / "lip-units.safetensors"
    write_lip_units(path, network())
    loaded = load_lip_units(path, device=torch.device("cpu"))
    assert loaded.config == CONFIG
    rows = torch.randn(1, 9, tiny_person.AUDIO)
    assert torch.equal(loaded.lips(rows), network().lips(rows))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="damaged"):
        load_lip_units(path, device=torch.device("cpu"))


def test_takes_share_the_lips_and_have_the_motion_of_a_person_without() -> None:
    clip = audio(130)[:-300]
    one, other = animator().animate(clip, FEW)
    assert one.lips is not None
    assert one.lips.shape == (130, len(UNITS) + 1)
    assert torch.equal(one.lips, other.lips)  # type: ignore[arg-type]
    plain, _ = tiny_person.tiny_animator().animate(clip, FEW)
    assert plain.lips is None
    assert torch.equal(one.face, plain.face)
    assert torch.equal(one.pose, plain.pose)


def test_lips_in_windows_are_those_of_the_whole_clip_but_for_its_level() -> None:
    clip, person = audio(400), animator()
    (whole,) = person.whole(clip, replace(FEW, seeds=(1,)))
    parts = [
        part[0]
        for part in person.stream(torch.split(clip, 5000), replace(FEW, seeds=(1,)), windows=SMALL)
    ]
    lips = joined(parts).lips
    assert lips is not None
    assert whole.lips is not None
    assert lips.shape == whole.lips.shape
    assert float((lips - whole.lips).abs().mean()) < 0.02


def test_a_cut_of_a_motion_cuts_its_lips() -> None:
    motion = Motion(torch.zeros(5, 256), torch.zeros(5, 104), torch.arange(5.0)[:, None])
    cut = motion[1:3].lips
    assert cut is not None
    assert cut.tolist() == [[1], [2]]
    assert motion[:2].face.shape == (2, 256)
    assert joined([motion[:1], motion[4:]]).pose.shape == (2, 104)
