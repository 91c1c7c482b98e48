"""Every golden case of the reference, computed by the code of the worker, one test per case.

`VISAVIS_PARITY_MOTION=<folder>` selects another folder of the same layout.
"""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from models.formats.dataset import wrap_angle
from models.motion.denoiser import Denoiser
from models.motion.diffusion import (
    cosine_betas,
    cumulative_alphas,
    ddim_counts,
    ddim_timesteps,
    guided,
    q_sample,
    schedule_for,
    schedule_of,
)
from models.motion.guide import generate, nucleus
from models.motion.layers import time_embedding
from models.motion.lips import lip_geometry, lip_rows, source_frames
from models.motion.pipeline import denoising
from models.motion.resample import resample
from models.motion.samplers.ddim import ddim_sample, ddim_step
from models.motion.speech import ConvSpeech, ConvSpeechConfig
from models.motion.statistics import Statistics
from tests.models.motion.demo_audio import demo_audio
from tests.models.motion.golden import (
    Case,
    body_of,
    cases,
    face_of,
    guide_of,
    lips_of,
    probabilities_by_token,
    speech_of,
    tokenizer_of,
    zeroed_after_end,
)
from training.data.scenes import released_chunks
from training.evaluation import metrics
from training.loop.schedules import StepSchedule
from training.networks.codebooks import (
    Codebook,
    LearningTokenizer,
    k_means,
    perplexity,
    update_codebook,
)
from training.networks.losses import length_mask, motion_loss, token_loss, tokenizer_loss

LIP_LEAD_ROWS = 2  # 320 leading zeros add two rows


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_results_match_the_reference(case: Case) -> None:
    CHECKS[case.kind](case)

    assert case.compared == set(case.entry["outputs"])


def check_resample(case: Case) -> None:
    case.check("y", resample(case["x"], case.config["orig"], case.config["new"]))


def check_audio_features(case: Case) -> None:
    speech = speech_of(case.weights(), log_compression=case.config["log_compression"])
    with torch.inference_mode():
        case.check("features", speech(case.audio()))


def check_lip_speech_encoder(case: Case) -> None:
    with torch.inference_mode():
        case.check("features", lips_of(case.weights()).speech(case.audio()[..., 0]))


def check_lip_regressor(case: Case) -> None:
    with torch.inference_mode():
        case.check("verts", lips_of(case.weights())(case.audio()[..., 0]))


def check_lip_conditioning(case: Case) -> None:
    frames, rows = case.config["frames"], case.config["feature_rows"]
    with torch.inference_mode():
        geometry = lip_geometry(lips_of(case.weights()), case.audio())
    assert geometry.shape[1] == frames
    case.check("source_frame", source_frames(frames, rows))
    case.check("cond_rows", lip_rows(geometry, rows)[:, :: case.config["row_stride"]])


def check_feature_counts(case: Case) -> None:
    speech = ConvSpeech(ConvSpeechConfig())
    rows = [speech.rows(frames) for frames in case["frames"].tolist()]
    case.check("features", np.array(rows))
    case.check("lip_features", np.array(rows) + LIP_LEAD_ROWS)


def check_time_embedding(case: Case) -> None:
    case.check("emb", time_embedding(case["t"], case.config["dim"]))


@torch.inference_mode()
def check_face_forward(case: Case) -> None:
    weights = case.weights()
    network = face_of(case, weights)
    x = _rows(case["x"])
    condition = network.guided_condition(network.tokens(case.face_features()), x.shape[1])
    _check_forward(case, network(torch.cat([x, x]), case["t"].repeat(2), condition))


@torch.inference_mode()
def check_pose_forward(case: Case) -> None:
    weights = case.weights()
    network = body_of(case, weights)
    x, keys = _rows(case["x"]), case["keyframes"]
    if "lengths" in case.arrays:
        keys = zeroed_after_end(keys, case["lengths"])
        case.check("keyframes_after", keys)
    features = case.speech_features()
    if "features_head" in case.arrays:
        count = case.arrays["features_head"].shape[1]
        case.check("features_head", features[:, :count])
        case.check("features_tail", features[:, -count:])
    condition = network.guided_condition(network.tokens(features), x.shape[1])
    condition = network.with_keys(condition, network.guided_key_tokens(keys))
    _check_forward(case, network(torch.cat([x, x]), case["t"].repeat(2), condition))


def _check_forward(case: Case, both: Tensor) -> None:
    known, unknown = both[:, :: case.config.get("row_stride", 1)].chunk(2)
    case.check("cond", known)
    case.check("uncond", unknown)
    if "cfg" in case.arrays:
        scale = case["scale"][:, None, None]
        case.check_guided("cfg", unknown + scale * (known - unknown), float(case["scale"].max()))


@torch.inference_mode()
def check_face_sample(case: Case) -> None:
    weights = case.weights()
    network = face_of(case, weights)
    tokens = network.tokens(case.face_features())
    condition = network.guided_condition(tokens, case["noise"].shape[3])
    _check_sample(case, network, condition)


@torch.inference_mode()
def check_pose_sample(case: Case) -> None:
    weights = case.weights()
    network = body_of(case, weights)
    keys = zeroed_after_end(case["keyframes"], case["lengths"])
    tokens = network.tokens(case.speech_features())
    condition = network.guided_condition(tokens, case["noise"].shape[3])
    condition = network.with_keys(condition, network.guided_key_tokens(keys))
    _check_sample(case, network, condition)


def _check_sample(case: Case, network: Denoiser, condition) -> None:
    space = schedule_for(int(case.config["respacing"].removeprefix("ddim")))
    scale = case["scale"][:, None, None]
    denoise = guided(denoising(network, condition), scale)
    noise = _rows(case["noise"])
    last = len(space.timesteps) - 1
    first = ddim_step(noise, denoise(noise, space.timesteps[last]), space, last)
    case.check("first_step_x", _columns(first))
    case.check("sample", _columns(ddim_sample(denoise, noise, space)))


def check_schedule(case: Case) -> None:
    betas, alphas_cumprod = cosine_betas(), cumulative_alphas()
    before = torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])
    case.check("betas", betas)
    case.check("alphas_cumprod", alphas_cumprod)
    case.check("sqrt_alphas_cumprod", alphas_cumprod.sqrt())
    case.check("sqrt_one_minus_alphas_cumprod", (1 - alphas_cumprod).sqrt())
    case.check("posterior_variance", betas * (1 - before) / (1 - alphas_cumprod))
    case.check("valid_ddim_counts", np.array(ddim_counts()))
    for name in case.arrays:
        if match := re.fullmatch(r"ddim(\d+)_timesteps", name):
            space = schedule_of(ddim_timesteps(int(match[1])))
            case.check(name, np.array(space.timesteps))
            case.check(f"ddim{match[1]}_alphas_cumprod", space.alphas_cumprod)
            case.check(f"ddim{match[1]}_alphas_cumprod_prev", space.previous)
            case.check(f"ddim{match[1]}_sqrt_recip", (1 / space.alphas_cumprod).sqrt())
            case.check(f"ddim{match[1]}_sqrt_recipm1", (1 / space.alphas_cumprod - 1).sqrt())


def check_ddim_step(case: Case) -> None:
    space = schedule_for(int(case.config["respacing"].removeprefix("ddim")))
    x, steps = case["x"], case["step_index"].tolist()
    moved = [
        ddim_step(_rows(x)[i], case["x0"][i], space, step).T[:, None]
        for i, step in enumerate(steps)
    ]
    case.check("x_prev", torch.stack(moved))
    case.check("q_sample", q_sample(x, case["noise"], space.alphas_cumprod[steps]))


@torch.inference_mode()
def check_vq_codec(case: Case) -> None:
    tokenizer = tokenizer_of(case, case.weights())
    tokens = tokenizer.encode(case["motion"])
    case.check("latent", tokenizer.latent(case["motion"]))
    case.check("tokens", tokens)
    case.check("decoded", tokenizer.decode(case["tokens_in"]))
    case.check("reconstruction", tokenizer.decode(tokens))


def check_vq_train(case: Case) -> None:
    weights = case.weights()
    learner = LearningTokenizer(tokenizer_of(case, weights), revive=False)
    levels = range(case.config["residual_depth"])
    for level in levels:
        book = f"quantizer.layers.{level}._codebook."
        learner.sums[level] = weights[book + "embed_avg"]
        learner.counts[level] = weights[book + "cluster_size"]
    learner.begun.fill_(value=True)
    learner.train()
    motion = case["motion"]
    predicted, quantised = learner(motion)
    learner.update_codebooks(motion, torch.Generator())
    losses = tokenizer_loss(
        predicted,
        motion,
        quantised.commitment,
        velocity_weight=case.config["loss_vel"],
        over_channels=True,
    )
    torch.autograd.backward(losses.total)
    case.check("pred", predicted)
    case.check("loss_motion", losses.motion)
    case.check("loss_commit", quantised.commitment)
    case.check("loss_vel", losses.velocity)
    case.check("loss", losses.total)
    case.check("perplexity", perplexity(quantised.tokens[:, -1], case.config["categories"]))
    tokenizer = learner.tokenizer
    for level in levels:
        case.check(f"cluster_size_{level}", learner.counts[level])
        case.check(f"embed_avg_{level}", learner.sums[level])
        case.check(f"embed_{level}", tokenizer.codebooks[level])
    case.check("grad_enc0_bias", tokenizer.encoder_in.bias.grad)
    case.check("grad_enc0_weight", tokenizer.encoder_in.weight.grad)
    case.check("grad_dec_last_bias", tokenizer.decoder_out.bias.grad)


def check_vq_dead_codes(case: Case) -> None:
    from models.motion.tokenizer import nearest

    book = Codebook(case["embed"], case["embed_avg"], case["cluster_size"])
    chosen = nearest(case["x"], book.codes)
    after = update_codebook(book, case["x"], chosen, case["x"][case["picks"].long()], revive=False)
    case.check("indices", chosen)
    case.check("quantized", book.codes[chosen])
    case.check("embed_after", after.codes)
    case.check("embed_avg_after", after.sums)
    case.check("cluster_size_after", after.counts)


def check_vq_kmeans(case: Case) -> None:
    means, counts = k_means(case["samples"], case["initial_means"], case.config["iterations"])
    case.check("means", means)
    case.check("bins", counts)


@torch.inference_mode()
def check_guide_logits(case: Case) -> None:
    weights = case.weights()
    guide = guide_of(case, weights)
    features = case.speech_features()
    condition = guide.condition(features)
    logits = guide(case["tokens"], condition)
    case.check("cond", logits)
    case.check("ce_loss", token_loss(logits, case["targets"].long()))
    unconditional = guide.condition(features, keep=torch.zeros(len(features), dtype=torch.bool))
    case.check("uncond", guide(case["tokens"], unconditional))
    greedy = generate(
        guide,
        condition,
        keys=case.config["greedy_steps"],
        depth=case.config["residual_depth"],
        top_p=1e-6,
        generators=[torch.Generator() for _ in features],
    )
    case.check("greedy_tokens", greedy.flatten(1))


def check_nucleus(case: Case) -> None:
    result = nucleus(case["logits"], case.config["top_p"])
    case.check("probs", probabilities_by_token(result))
    case.check("kept", (result.probabilities > 0).sum(1))


def check_guide_ce(case: Case) -> None:
    case.check("loss", token_loss(case["logits"], case["targets"].long()))


def check_face_training_loss(case: Case) -> None:
    weights = case.weights()
    network = face_of(case, weights)
    features = case.face_features()
    x0, t = _rows(case["x0"]), case["t"]
    noisy = q_sample(x0, _rows(case["noise"]), cumulative_alphas()[t])
    keep = case["keep_audio"].bool()
    condition = network.condition(network.tokens(features), x0.shape[1], keep=keep)
    _check_losses(case, network, network(noisy, t, condition), x0)


def check_pose_training_loss(case: Case) -> None:
    weights = case.weights()
    network = body_of(case, weights)
    features = case.speech_features()
    x0, t = _rows(case["x0"]), case["t"]
    noisy = q_sample(x0, _rows(case["noise"]), cumulative_alphas()[t])
    condition = network.condition(
        network.tokens(features), x0.shape[1], keep=case["keep_audio"].bool()
    )
    keys = zeroed_after_end(case["keyframes"], case["lengths"])
    tokens = network.key_tokens(keys, case["keep_keyframes"].bool())
    _check_losses(case, network, network(noisy, t, network.with_keys(condition, tokens)), x0)


GRADIENTS: dict[str, Callable[[Denoiser], Tensor]] = {
    "final_layer.bias": lambda network: network.motion_out.bias,
    "input_projection.bias": lambda network: network.motion_in.bias,
    "cond_projection.bias": lambda network: network.audio_in.bias,
    "null_cond_hidden": lambda network: network.null_hidden,
    "seqTransDecoder.stack.0.film1.block.1.bias": (
        lambda network: network.layers[0].self_film.linear.bias
    ),
    "to_time_tokens.0.bias": lambda network: network.time_tokens.bias,
    "cond_encoder.0.linear1.bias": lambda network: network.encoder[0].ff_in.bias,
    "frame_cond_projection.bias": lambda network: network.key_in.bias,
}


def _check_losses(case: Case, network: Denoiser, predicted: Tensor, x0: Tensor) -> None:
    inside = length_mask(case["lengths"], x0.shape[1])
    losses = motion_loss(predicted, x0, inside, case["missing"].float())
    total = losses.position + case.config["lambda_vel"] * losses.velocity
    torch.autograd.backward(total.mean())
    case.check("rot_mse", losses.position)
    if "vel_mse" in case.arrays:
        case.check("vel_mse", losses.velocity)
    case.check("loss", total)
    for name in case.arrays:
        if name.startswith("grad:"):
            case.check(name, GRADIENTS[name.removeprefix("grad:")](network).grad)


def check_pose_wrap(case: Case) -> None:
    case.check("wrapped", wrap_angle(case.arrays["angle"]))


def check_test_chunks(case: Case) -> None:
    pairs = zip(case["length"].tolist(), case["max_seq_length"].tolist(), strict=True)
    chunks = [released_chunks(length, longest) for length, longest in pairs]
    case.check("count", np.array([len(starts) for starts in chunks]))
    case.check("last_start", np.array([starts[-1] if starts else -1 for starts in chunks]))


def check_length_mask(case: Case) -> None:
    case.check("mask", length_mask(case["lengths"], case.config["max_len"]))


def check_eval_metrics(case: Case) -> None:
    predicted, true = case.arrays["pred"], case.arrays["gt"]
    pairs = case.arrays["first"], case.arrays["second"]
    case.check("cross_sample_var", metrics.cross_sample_variance(predicted))
    case.check("var_k", metrics.variance_over_time(predicted))
    case.check("var_g", metrics.pair_distance(predicted, *pairs))
    for name, rows_of in (("fid_g", metrics.frames_of), ("fid_k", metrics.differences_of)):
        case.check(name, metrics.frechet_distance(rows_of(true), rows_of(predicted)))


def check_demo_audio(case: Case) -> None:
    unused = torch.zeros(0)
    statistics = Statistics(
        *[unused] * 4, case["audio_mean"].float(), float(case["audio_std_flat"])
    )
    audio = demo_audio(case["raw"], case.config["rate"], statistics)
    case.check("samples", np.array(len(audio)))
    case.check("frames", np.array(len(audio) // 1600))
    case.check("channel0", audio[:: case.config["stride"], 0])


def check_lr_schedule(case: Case) -> None:
    config = case.config
    schedule = StepSchedule(
        config["lr"],
        config["warm_up_iter"],
        tuple(config["milestones"]),
        config["gamma"],
        warmup_apart=config["kind"] == "vq",
    )
    rates = [schedule.at(update) for update in range(len(case.arrays["lr"]))]
    case.check("lr", np.array(rates))


def _rows(x: Tensor) -> Tensor:
    return x[:, :, 0].transpose(1, 2)  # [B, C, 1, T] -> [B, T, C]


def _columns(x: Tensor) -> Tensor:
    return x.transpose(1, 2)[:, :, None]  # [B, T, C] -> [B, C, 1, T]


CHECKS = {
    name.removeprefix("check_"): check
    for name, check in globals().items()
    if name.startswith("check_")
}
