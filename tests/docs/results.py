"""Results of a page that exit statuses do not show: files of the page's folder."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import av

from contracts.person import check_files
from training.demo.body import DEMO_FACTS


def _videos(*names: str) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        for name in names:
            found = sorted(folder.glob(name))
            assert found, name
            with av.open(str(found[0])) as video:
                assert video.streams.video[0].frames > 0, name

    return check


def _own_person(folder: Path) -> None:
    """The person has the facts of her owner, not those of the demo person."""
    person = folder / "people" / "ada"
    check_files(person)
    assert not (person / "person.draft.json").exists()
    text = (person / "person.json").read_text(encoding="utf-8")
    written = json.loads(text)
    assert (written["name"], written["title"]) == ("ada", "Ada")
    assert written["licence"] == "All rights reserved, Ada Example"
    assert written["avatar"] == {"kind": "blendshape"}
    assert written["provenance"].keys() == {"avatar", "tokenizer", "face", "body", "guide"}
    assert not any(DEMO_FACTS[name] in text for name in ("title", "licence"))
    assert '"demo"' not in text
    _videos("conversation.mp4")(folder)


def _released_person(folder: Path) -> None:
    """A person with the released speech networks has lips, and the recipe's guidance."""
    person = folder / "people" / "grace"
    check_files(person)
    written = json.loads((person / "person.json").read_text(encoding="utf-8"))
    assert "lips.safetensors" in written["files"]
    assert written["defaults"]["guidance_face"] == 10.0
    assert written["licence"] == "CC BY-NC 4.0"


CHECKS: Mapping[str, tuple[Callable[[Path], None], ...]] = {
    "README.md": (_videos("hello.mp4", "out.mp4", "talk.mp4", "both.mp4", "local.mp4"),),
    "docs/api.md": (_videos("*take-1.mp4"),),
    "docs/recipes.md": (_videos("both-views.mp4", "take-1.mp4"),),
    "docs/released-people.md": (lambda folder: check_files(folder / "people" / "PXB184"),),
    "docs/rendering.md": (_videos("samples/truth/sample00_truth.mp4"),),
    "docs/client-command.md": (_videos("hello.mp4", "hello-take-2.mp4", "videos/*.mp4"),),
    "docs/your-own-person.md": (_own_person, _released_person),
    "docs/your-recordings.md": (_videos("ada.mp4", "them.mp4", "videos/*.mp4"),),
}
