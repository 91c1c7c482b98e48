"""Sentences of the synthetic conversations, generated from a small grammar."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.random import Generator

SENTENCES = (
    "I {think} the {quality} {thing} is {by} the {place}.",
    "Did you {see} the {thing} {past}?",
    "{open}, we {did} {number} {things} {by} the {place} {past}.",
    "{open}, that is {verdict}! Tell me more about the {thing}.",
    "Why would you {bring} a {thing} to the {place}?",
    "We should {bring} the {things}, the {things}, and {number} {quality} {things}.",
    "My {kin} {did} a {quality} {thing} {past}, and it was {verdict}.",
    "No way, {number} {things}? That sounds {verdict}.",
    "Please {bring} me that {quality} {thing} before {day}.",
    "I never {did} the {thing}, but my {kin} {did} it {past}.",
    "How far is the {place} from the {place}?",
    "First you {bring} the {thing}, then you {see} the {things}, and then you go to the {place}.",
    "{open}, I could not {see} it {by} the {place}.",
    "Maybe we can {see} the {quality} {thing} together {future}?",
    "The {quality} {things} and the {quality} {things} {did} my {kin} {past}.",
    "It was {verdict}, {verdict}, and a little {quality}.",
    "You know my {kin}, she always {did} {things} {by} the {place}.",
    "What if the {thing} was {by} the {place} all along?",
    "A {quality} {kin} with a {quality} {thing}? {open}!",
    "{open}.",
)
WORDS = {
    "think": "think/guess/hope/believe/am sure/assume/doubt/swear",
    "quality": "small/blue/very old/enormous/quiet/fresh/golden/broken/tiny/beautiful/strange/"
    "heavy/purple/awful/smooth/wooden/bumpy/marvellous/foggy/shiny/square/warm/huge/cheap",
    "thing": "boat/garden/camera/bridge/kitchen/violin/puppy/window/sandwich/mountain/jacket/"
    "movie/picture/forest/umbrella/bottle/trumpet/blanket/fishing rod/mirror/tomato/vase/map/goat",
    "things": "maps/flowers/candles/books/apples/shoes/papers/glasses/photographs/chairs/boxes/"
    "mushrooms/potatoes/watches/bubbles/feathers/thieves/pumpkins/wolves/zebras/jobs/beams",
    "by": "near/behind/beside/above/far from/opposite/below/between the shop and",
    "place": "river/station/beach/market/museum/village/airport/library/old town/harbor/school/"
    "farm/pharmacy/swimming pool/zoo/palace/workshop/moor/bay/church",
    "see": "see/find/remember/notice/visit/paint/move/fix/borrow/choose/observe",
    "past": "yesterday/last week/this morning/two years ago/on Friday/in the summer/before lunch",
    "future": "tomorrow/next week/on Sunday/after lunch/when the weather improves/in March",
    "did": "found/bought/saw/carried/lost/fixed/counted/moved/wore/bothered/watched/made/shook",
    "bring": "bring/carry/give/show/send/buy/throw/mail/push/offer/choose",
    "open": "Oh wow/Well/Honestly/You know what/Yes, of course/Hmm, maybe/Absolutely/Okay/"
    "Right, exactly/I see/No, not really/Oh my/Sure, why not/Um, perhaps/Wait a moment",
    "number": "two/three/seven/twelve/about forty/a hundred/five/eleven/ninety nine/four",
    "verdict": "wonderful/terrible/so funny/a bit much/amazing/really surprising/perfect/"
    "awfully loud/the best thing ever/boring/worth it/a shame",
    "kin": "sister/neighbor/teacher/cousin/best friend/boss/father/mother/uncle/brother in law",
    "day": "Monday/noon/the weekend/five/Thursday/the show/August",
}
CHOICES = {name: words.split("/") for name, words in WORDS.items()}
SHORT = ("Yeah.", "Right.", "Mm hmm.", "Oh, wow.", "Okay.", "Really?", "Sure.", "I know.")

# Parts of syllables of invented words, one for each probability.
ONSETS = [
    "p",
    "b",
    "m",
    "t",
    "d",
    "n",
    "k",
    "g",
    "f",
    "v",
    "s",
    "l",
    "r",
    "j",
    "p",
    "b",
    "m",
    "w",
    "br",
    "pl",
    "tr",
    "st",
    "ch",
    "sh",
    "fr",
    "gl",
]
NUCLEI = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "au", "oi", "ou", "ei", "ue"]
CODAS = ["", "", "", "", "n", "m", "s", "l", "r", "t", "p"]


def sentence(rng: Generator) -> str:
    """Generate a random sentence."""
    text = str(rng.choice(SENTENCES))
    while "{" in text:
        text = re.sub(r"\{(\w+)\}", lambda slot: str(rng.choice(CHOICES[slot[1]])), text, count=1)
    return text[0].upper() + text[1:]


def turn(rng: Generator) -> str:
    """Generate one to four sentences, the text of one turn."""
    return " ".join(sentence(rng) for _ in range(rng.choice([1, 1, 2, 2, 3, 4])))


def invented(rng: Generator) -> str:
    """Generate one to three sentences of invented words, for voices of any language."""
    return " ".join(_invented_sentence(rng) for _ in range(rng.choice([1, 2, 3])))


def _invented_sentence(rng: Generator) -> str:
    def syllable() -> str:
        return "".join(str(rng.choice(part)) for part in (ONSETS, NUCLEI, CODAS))

    words = [
        "".join(syllable() for _ in range(rng.choice([1, 2, 2, 3])))
        for _ in range(rng.integers(3, 8))
    ]
    return " ".join(words).capitalize() + str(rng.choice([".", ".", "?", "!"]))
