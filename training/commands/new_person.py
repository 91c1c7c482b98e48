"""`python -m training new-person`: a person directory with name, title, licence and avatar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.consent import KINDS, LICENCE, NON_COMMERCIAL, Consent
from contracts.errors import InputError
from contracts.person import MANIFEST
from training.commands.console import print_line
from training.commands.options import output_folder
from training.person_facts import (
    avatar_source,
    copy_avatar,
    person_name,
    read_facts,
    write_draft,
)

if TYPE_CHECKING:
    import argparse

RELEASED = "released"


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `new-person`."""
    new = commands.add_parser(
        "new-person", help="create a person directory, which the trainers complete"
    )
    new.add_argument("folder", type=output_folder, help="person directory, such as people/ada")
    new.add_argument("--name", help="name of the person; default: the name of the folder")
    new.add_argument("--title", help="name for people, such as Ada")
    new.add_argument("--licence", help="licence of the person: the owner's, in any words")
    new.add_argument(
        "--consent",
        choices=KINDS,
        help="agreement to show the person: synthetic (nobody real), licence (released by others), "
        "given (by the person shown)",
    )
    new.add_argument("--consent-by", help="who agreed, or a reference to the signed paper")
    new.add_argument("--consent-on", help="first day of the agreement, YYYY-MM-DD")
    new.add_argument("--consent-until", help="last day; default: no end")
    new.add_argument(
        "--uses", help="covered uses: non-commercial (default), or non-commercial,commercial"
    )
    new.add_argument("--conditions", help="conditions of the agreement or licence, in words")
    new.add_argument(
        "--avatar", help="demo, or a person directory or avatar.safetensors to copy it from"
    )
    new.add_argument(
        "--speech",
        choices=(RELEASED,),
        help="import the released speech networks and lips; default: the log-mel front end",
    )
    new.add_argument(
        "--assets", type=Path, help="folder or archive with the released speech networks and lips"
    )
    new.set_defaults(run=new_person)


def new_person(arguments: argparse.Namespace) -> None:
    """Write what is known of the person, and publish her if nothing is missing.

    Raises: InputError: before anything is written, when an option is invalid or missing.
    """
    from training.person_directory import complete, next_step, write_front_end

    folder: Path = arguments.folder
    name = person_name(folder, arguments.name)
    facts = _facts(arguments, name)
    source = avatar_source(arguments.avatar) if arguments.avatar else None
    if source is not None:
        facts["avatar"] = {"kind": source.kind}
        facts["defaults"] = facts.get("defaults", {}) | source.look
        facts["provenance"] = facts.get("provenance", {}) | {"avatar": source.origin}
    front_end = _front_end(arguments)
    folder.mkdir(parents=True, exist_ok=True)
    if source is not None:
        copy_avatar(source, folder)
    write_front_end(folder, front_end)
    write_draft(folder, facts)
    complete(folder)
    print_line(next_step(folder))


def _facts(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Facts of the options, over those of an earlier call."""
    folder: Path = arguments.folder
    before = read_facts(folder)
    if before is not None and (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder / MANIFEST} exists: the person is complete; edit title and licence there, or "
            "name another folder"
        )
    facts: dict[str, Any] = {"name": name, "title": None, "licence": None, **(before or {})}
    for member in ("title", "licence"):
        text = getattr(arguments, member)
        facts[member] = facts[member] if text is None else text.strip()
        if not facts[member]:
            raise InputError(f"--{member}: missing; it is published in {MANIFEST}")
    consent = _consent(arguments, facts["licence"])
    return facts if consent is None else facts | {"consent": consent}


def _consent(arguments: argparse.Namespace, licence: str) -> dict[str, Any] | None:
    """Return the member `consent` of the options; None without them."""
    options = {
        "given_by": arguments.consent_by,
        "on": arguments.consent_on,
        "until": arguments.consent_until,
        "conditions": arguments.conditions,
    }
    members = {name: value for name, value in options.items() if value is not None}
    if arguments.consent is None:
        if members or arguments.uses:
            raise InputError("--consent: missing; say who agreed: " + ", ".join(KINDS))
        return None
    uses = (arguments.uses or NON_COMMERCIAL).replace(" ", "").split(",")
    members |= {"kind": arguments.consent, "uses": uses}
    if arguments.consent == LICENCE:
        members["licence"] = licence
    try:
        return Consent.parse(members).to_json()
    except ValueError as error:
        raise InputError(f"--consent: {error}") from error


def _front_end(arguments: argparse.Namespace) -> Any:
    """Released speech networks of --assets; None for the log-mel front end."""
    if arguments.speech != RELEASED:
        if arguments.assets is not None:
            raise InputError("--assets: only with --speech released")
        return None
    if arguments.assets is None:
        raise InputError(
            "--speech released: needs --assets, the folder or archive with vq-wav2vec.pt, "
            "wav2vec_large.pt and iter-*.pt"
        )
    from models.released.person import read_front_end

    return read_front_end(arguments.assets)
