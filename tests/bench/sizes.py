"""Small configs of every network, with the shapes of the released ones."""

from dataclasses import replace

from bench.motion import Sizes
from models.motion.denoiser import DenoiserConfig
from models.motion.guide import GuideConfig
from models.motion.lips import LipConfig
from models.motion.speech import ConvSpeechConfig
from models.motion.tokenizer import TokenizerConfig

LAYERS = ((8, 10, 5), (8, 8, 4), (8, 4, 2), (8, 4, 2), (8, 4, 2))
SMALL = DenoiserConfig(
    channels=256, audio_channels=16 + 3 * 5, width=16, layers=2, heads=2, hidden=16,
    encoder_layers=1,
)  # fmt: skip
TINY = Sizes(
    speech=ConvSpeechConfig(layers=LAYERS),
    lips=LipConfig(
        layers=LAYERS, context_kernels=(2, 3), vertices=5, heads=2, hidden=16, encoder_layers=1,
        decoder_layers=1,
    ),
    face=SMALL,
    body=replace(
        SMALL, channels=104, audio_channels=16, encoder_layers=0, longest_keys=20, tail_hidden=8
    ),
    guide=GuideConfig(
        codes=16, audio_channels=16, audio_blocks=1, width=16, layers=2, heads=2, hidden=16
    ),
    tokenizer=TokenizerConfig(width=8, codes=16, depth=2),
)  # fmt: skip
