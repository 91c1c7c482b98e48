"""Manifest of a file: whether it is valid, and what it says."""

from __future__ import annotations

import io
import json
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import c2pa

from contracts.outputs import OUTPUTS
from contracts.provenance import ManifestFinding, ManifestState
from worker.provenance.manifest import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENDS = 1 << 20  # bytes at both ends of a file that are searched for its comment
NAME = b"visavis"
UNKNOWN_TYPE = "application/octet-stream"
CONTENT_TYPES = {
    ".wav": "audio/wav",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".m4v": "video/mp4",
    ".avi": "video/avi",
} | {output.suffix: output.content_type for output in OUTPUTS}
MAGIC = {  # first bytes, where the name has no known suffix
    b"RIFF": "audio/wav",
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"ID3": "audio/mpeg",
    b"fLaC": "audio/flac",
}
SENTENCES = {  # codes of C2PA
    "assertion.bmffHash.mismatch": "the file was changed after it was signed",
    "assertion.dataHash.mismatch": "the file was changed after it was signed",
    "assertion.boxesHash.mismatch": "the file was changed after it was signed",
    "assertion.hashedURI.mismatch": "a statement of the manifest was changed",
    "assertion.missing": "a statement of the manifest is missing",
    "claimSignature.mismatch": "the signature does not fit the manifest",
    "claimSignature.missing": "the manifest has no signature",
    "signingCredential.untrusted": "this service does not trust the issuer of the certificate",
    "signingCredential.expired": "the certificate had expired",
    "signingCredential.invalid": "the certificate is not one for signing media",
    "ingredient.manifest.mismatch": "the manifest of a recording was changed",
}
UNTRUSTED = "signingCredential.untrusted"


def read_manifest(
    path: Path, *, sidecar: bytes | None = None, name: str = "", trusted: str = ""
) -> ManifestFinding:
    """Return the manifest of a file.

    sidecar: content of the manifest beside it. name: of the file, for its suffix; default its own.
    trusted: PEM texts of certificates. Nothing is fetched from a network.
    """
    content_type = content_type_of(path, name or path.name)
    try:
        with path.open("rb") as file:
            reader = c2pa.Reader(content_type, file, sidecar, context=_context(trusted))
            state, content = reader.get_validation_state(), json.loads(reader.json())
    except c2pa.C2paError as error:
        return _without(path, error, sidecar=sidecar is not None)
    return _finding(state, content)


def content_type_of(path: Path, name: str) -> str:
    """Return the type by the first bytes of a file, else by its suffix."""
    with path.open("rb") as file:
        start = file.read(16)
    suffix = CONTENT_TYPES.get(PurePath(name).suffix.lower(), UNKNOWN_TYPE)
    if start[4:8] in (b"ftyp", b"moov", b"wide", b"mdat"):
        return "video/quicktime" if start[8:12] == b"qt  " else "video/mp4"
    if start[:4] == b"RIFF" and start[8:12] != b"WAVE":
        return suffix
    return next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), suffix)


def ingredient(path: Path, relationship: str) -> bytes:
    """Return a file with a manifest as an archive that another manifest can name.

    relationship: of C2PA, "parentOf" or "inputTo". Empty for a file without a readable manifest.
    """
    content_type = content_type_of(path, path.name)
    archive = io.BytesIO()
    try:
        with path.open("rb") as file:
            c2pa.Reader(content_type, file, context=_context(""))
            file.seek(0)
            builder = c2pa.Builder({"claim_generator_info": [{"name": "visavis"}]})
            about = {"title": "Recording", "relationship": relationship, "label": "recording"}
            builder.add_ingredient(about, content_type, file)
        builder.write_ingredient_archive("recording", archive)
    except c2pa.C2paError:
        return b""
    return archive.getvalue()


def _context(trusted: str) -> c2pa.Context:
    verify = {"verify_trust": bool(trusted), "remote_manifest_fetch": False, "ocsp_fetch": False}
    options: dict[str, Any] = {"verify": verify, "builder": {"thumbnail": {"enabled": False}}}
    if trusted:
        options["trust"] = {"trust_anchors": trusted}
    return c2pa.Context.from_dict(options)


def _without(path: Path, error: c2pa.C2paError, *, sidecar: bool) -> ManifestFinding:
    """Return the finding about a file whose manifest cannot be read."""
    text = str(error)
    if sidecar or not ("ManifestNotFound" in text or "no JUMBF" in text or "NotSupported" in text):
        reason = f"the manifest cannot be read ({text.partition(':')[0].strip()})"
        return ManifestFinding(ManifestState.INVALID, (reason,))
    if names_visavis(path):
        reason = "the file names visavis but has no manifest: it was removed, or is beside the file"
        return ManifestFinding(ManifestState.REMOVED, (reason,))
    return ManifestFinding(ManifestState.ABSENT, ("the file has no manifest",))


def names_visavis(path: Path) -> bool:
    """Return whether the metadata at one end of a file name this program."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(ENDS)
        file.seek(max(0, size - ENDS))
        return NAME in start or NAME in file.read(ENDS)


def _finding(state: str | None, content: Mapping[str, Any]) -> ManifestFinding:
    codes = [each["code"] for each in content.get("validation_status", ())]
    active = content.get("manifests", {}).get(content.get("active_manifest"), {})
    signature = active.get("signature_info", {})
    valid = state in ("Valid", "Trusted")
    faults = [code for code in dict.fromkeys(codes) if not valid or code == UNTRUSTED]
    return ManifestFinding(
        ManifestState.VALID if valid else ManifestState.INVALID,
        tuple(dict.fromkeys(SENTENCES.get(code, code) for code in faults)),
        trusted=state == "Trusted",
        signer=signature.get("common_name") or signature.get("issuer"),
        signed_at=signature.get("time"),
        claims=_claims(active),
    )


def _claims(active: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statements of a manifest: ours, the kind of source, the inputs."""
    claims: dict[str, Any] = {}
    for assertion in active.get("assertions", ()):
        if assertion.get("label") == ORIGIN:
            claims.update(assertion.get("data") or {})
        if str(assertion.get("label")).startswith("c2pa.actions"):
            actions = (assertion.get("data") or {}).get("actions") or [{}]
            claims["source_type"] = actions[0].get("digitalSourceType")
    generators = active.get("claim_generator_info") or [{}]
    claims["software"] = " ".join(
        str(generators[0][key]) for key in ("name", "version") if generators[0].get(key)
    )
    claims["ingredients"] = [
        {key: each.get(key) for key in ("title", "relationship", "instance_id")}
        for each in active.get("ingredients", ())
    ]
    return claims
