"""Complete a person with the motion of another: `python -m training.demo.shared_motion`.

The folder has an avatar from `training.demo.body`. Networks and statistics become relative links to
the files of the other person (ADR 35), `finishing.json` is the other person's with a manner of
`training.demo.manner`. Run it again after a training of the other person.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.files import write_atomically
from contracts.person import FINISHING, read_manifest
from training.demo.body import build_body, facts_of
from training.demo.manner import MANNERS
from training.demo.mesh.looks import LOOKS
from training.person_directory import complete
from training.person_facts import AVATAR_FILES, DEMO_PERSON, read_facts, write_draft

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.demo.mesh.skeleton import Rig

SHARED_FACTS = ("limits", "defaults")  # of person.json, which the networks decide


def link_motion(person: Path, base: Path) -> tuple[str, ...]:
    """Replace the motion files of a person by links to another's; return their names.

    Links to files that the other person no longer has are removed.
    Raises: PersonError: when the other person is not complete.
    """
    manifest = read_manifest(base)
    own = {*AVATAR_FILES, FINISHING, *manifest.media.values()}
    names = tuple(sorted(manifest.files.keys() - own))
    folder = Path(os.path.relpath(base.resolve(), person.resolve()))
    for path in person.iterdir():
        if path.is_symlink() and path.name not in names:
            path.unlink()
    for name in names:
        with write_atomically(person / name) as draft:
            draft.symlink_to(folder / name)
    return names


def write_manner(person: Path, base: Path, rig: Rig) -> None:
    """Write finishing.json from that of the other person."""
    content = json.loads((base / FINISHING).read_text(encoding="utf-8"))
    steps = MANNERS[person.resolve().name].applied(content["steps"], rig)
    made = {"command": command_of(person, base), "steps": steps}
    with write_atomically(person / FINISHING) as draft:
        draft.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def command_of(person: Path, base: Path) -> str:
    """Command line that completes a person."""
    people = " ".join(
        f"--{role} people/{path.resolve().name}"
        for role, path in (("person", person), ("base", base))
    )
    return f"python -m training.demo.shared_motion {people}"


def share_motion(person: Path, base: Path, facts: Mapping[str, Any]) -> None:
    """Link the motion of `base`, and write person.json with these facts."""
    link_motion(person, base)
    theirs = read_facts(base) or {}
    shared = {name: theirs[name] for name in SHARED_FACTS}
    provenance = {
        "motion": f"networks of the person {base.resolve().name!r}",
        "command": command_of(person, base),
    }
    media = (read_facts(person) or {}).get("media")
    shown = {} if media is None else {"media": media}
    write_draft(person, {**facts, **shared, **shown, "provenance": provenance})
    complete(person)


def main() -> None:
    """Write links, finishing.json and person.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--person", type=Path, required=True, help="person directory to complete")
    parser.add_argument("--base", type=Path, default=DEMO_PERSON, help="person with the networks")
    options = parser.parse_args()
    name = options.person.resolve().name
    if name not in MANNERS:
        parser.error(f"--person: {name!r} has no manner; choose from {', '.join(MANNERS)}")
    write_manner(options.person, options.base, build_body(LOOKS[name]).rig)
    share_motion(options.person, options.base, facts_of(name))


if __name__ == "__main__":
    main()
