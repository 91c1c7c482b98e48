"""Plain English: openings of docstrings, and phrases that no text of the product contains."""

import ast
import re

import pytest

from tests.house.source import (
    ROOT,
    comments,
    docstring_openings,
    documents,
    files_of_tests,
    one_line,
    other_texts,
    paragraphs,
    parsed,
    product_files,
    strings,
)

# Relative clauses and pronouns in place of a noun.
CLAUSE = re.compile(
    r"(What|Whatever|Who|Whoever|Whom|Whose|Which|Those|That|As|How|Whether|Where|Wherever|When|Why"
    r"|Nobody|Nothing|Everybody|Everyone|Somebody|Everything that|It|There)\b"
)
# Verbs in the third person in place of an imperative: known ones, and words in -s before an
# article.
THIRD_PERSON = re.compile(
    r"(Draws|Finds|Gives|Goes|Hears|Holds|Keeps|Knows|Makes|Paints|Puts|Raises(?!:)|Reads|Returns|Says"
    r"|Sends|Stands|Tells|Writes)\b"
    r"|(?!Across|Minus|Plus|Versus)[A-Z][a-z]+[a-rt-z]s"
    r" (a|an|the|all|each|every|its|their|what|whether)\b"
)
SENTENCE = re.compile(r"[A-Z`](?:[^.!?]|[.!?](?=\S))*\.")
PHRASE = re.compile(
    r"(?<!\bthere )\bis no (?!longer\b|more\b|less\b)\w|\bis none\b(?! of\b)"
    r"|\bof (ours|theirs|yours)\b|\bof (its|their|her|his) own\b",
    re.IGNORECASE,
)


def test_docstrings_open_with_a_noun_phrase_or_an_imperative() -> None:
    openings = [
        text for path in product_files() + files_of_tests() for text in docstring_openings(path)
    ]

    assert [str(text) for text in openings if CLAUSE.match(text.text)] == []
    assert [str(text) for text in openings if THIRD_PERSON.match(text.text)] == []


def test_each_package_is_described_in_one_sentence() -> None:
    packages = [path for path in product_files() if path.name == "__init__.py"]
    sentences = {
        str(path.relative_to(ROOT)): one_line(ast.get_docstring(parsed(path)) or "")
        for path in packages
    }

    assert {name: text for name, text in sentences.items() if not SENTENCE.fullmatch(text)} == {}


def test_no_text_of_the_product_contains_a_private_idiom() -> None:
    code = [text for path in product_files() for text in (*strings(path), *comments(path))]
    prose = [text for path in documents() + other_texts() for text in paragraphs(path)]

    assert [str(text) for text in code + prose if PHRASE.search(text.text)] == []


@pytest.mark.parametrize(
    "opening",
    ["What a job is.", "Whose turn it is.", "As it was sent.", "Tells the rest.", "Claims a job."],
)
def test_a_clause_or_a_verb_in_the_third_person_is_refused(opening: str) -> None:
    assert CLAUSE.match(opening) or THIRD_PERSON.match(opening)


@pytest.mark.parametrize(
    "opening",
    ["Return the job.", "Takes of a clip.", "Across all frames.", "Losses of the face.", "Asset."],
)
def test_a_noun_phrase_or_an_imperative_is_accepted(opening: str) -> None:
    assert not CLAUSE.match(opening) and not THIRD_PERSON.match(opening)


@pytest.mark.parametrize(
    "phrase", ["a file is no wav", "there is none", "an error of ours", "a row of its own"]
)
def test_a_private_idiom_is_found(phrase: str) -> None:
    assert PHRASE.search(phrase)
