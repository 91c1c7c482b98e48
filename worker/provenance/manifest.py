"""Manifests of C2PA: statements of an output's origin, signed into the file or beside it."""

from __future__ import annotations

import io
import json
import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import c2pa

from contracts.files import write_atomically
from contracts.outputs import SIDECAR_SUFFIX
from worker.provenance.keys import SigningError, load_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from contracts.outputs import Output
    from contracts.provenance import Clip, Origin, ShownPerson
    from jobs.settings import Settings
    from worker.provenance.keys import SigningKey

logger = logging.getLogger(__name__)

SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
ORIGIN = "org.visavis.origin"  # label of our assertion
ROLES = ("Recording of the person", "Recording of the partner")
TRIAL = b"visavis"
CREATED = {
    "label": "c2pa.actions.v2",
    "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": SYNTHETIC}]},
}
# No thumbnails, and no second look at what was just signed; nothing is fetched. Copies above 16 MB
# are temporary files.
CORE = {"backing_store_memory_threshold_in_mb": 16}
OPTIONS = {
    "core": CORE,
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {
        "verify_after_sign": False,
        "verify_trust": False,
        "remote_manifest_fetch": False,
        "ocsp_fetch": False,
    },
}
# Of manifests in files: videos are hashed in pieces, or their memory grows with the file. Pieces of
# a fragmented MP4, which has a sidecar, make it invalid (c2pa-python 0.38).
IN_PIECES = OPTIONS | {"core": CORE | {"merkle_tree_chunk_size_in_kb": 1024}}


class ManifestSigner:
    """Signs outputs with one key; used by one thread at a time."""

    def __init__(self, key: SigningKey, *, operator: str = "", time_stamps: str = "") -> None:
        """time_stamps: URL of a time stamp authority; empty for none.

        Raises: SigningError: when a trial with this key gives no valid manifest.
        """
        self.key = key
        self._operator = operator
        self._options = c2pa.Context.from_dict(OPTIONS)
        self._in_pieces = c2pa.Context.from_dict(IN_PIECES)
        self._plain = _signer(key, None)
        self._stamped = _signer(key, time_stamps) if time_stamps else None
        self._try()

    def sign(self, path: Path, output: Output, origin: Origin, facts: dict[str, Any]) -> bool:
        """Sign a file in place, or beside it as `<name>.c2pa` where it cannot hold a manifest.

        facts: of this file alone, such as its seed. Returns whether there is a sidecar.
        Raises: OSError: when the disk is full. SigningError: when the key fails.
        """
        about = facts | {"output": output.name}
        if output.embeds_manifest:
            with write_atomically(path) as draft:
                self._sign(path, draft, output.content_type, origin, about)
            return False
        manifest = self._sign(path, None, output.content_type, origin, about)
        with write_atomically(sidecar_of(path)) as draft:
            draft.write_bytes(manifest)
        return True

    def _sign(
        self, path: Path, to: Path | None, content_type: str, origin: Origin, facts: dict[str, Any]
    ) -> bytes:
        """Write the signed file, and return its manifest; without `to`, only the manifest."""
        signers = [self._plain] if self._stamped is None else [self._stamped, self._plain]
        for signer in signers:
            options = self._options if to is None else self._in_pieces
            builder = self._builder(origin, facts, options)
            if to is None:
                builder.set_no_embed()
            with path.open("rb") as source, _target(to) as target:
                guarded = Guarded(target)
                try:
                    return bytes(builder.sign(signer, content_type, source, guarded))
                except c2pa.C2paError as error:
                    if guarded.error is not None:
                        raise guarded.error from error
                    if signer is signers[-1]:
                        raise SigningError(f"the manifest cannot be signed: {error}") from error
                    reason = {"reason": str(error)}
                    logger.warning("no time stamp; signed without", extra=reason)
        raise AssertionError

    def _builder(
        self, origin: Origin, facts: dict[str, Any], options: c2pa.Context
    ) -> c2pa.Builder:
        about = {
            "request": origin.request,
            "person": {"name": origin.person, "digest": origin.person_digest},
            "consent": origin.consent.to_json(),
            "people": [_stated(each) for each in origin.people] if origin.others else None,
            "operator": self._operator or None,
            "job": origin.job,
            "recordings": [clip.sha256 for clip in origin.clips],
            **facts,
        }
        stated = {name: value for name, value in about.items() if value is not None}
        ingredients = [
            _ingredient(clip, role)
            for clip, role in zip(origin.clips, ROLES, strict=False)
            if clip.manifest is None
        ]
        definition = _definition([CREATED, {"label": ORIGIN, "data": stated}], ingredients)
        builder = c2pa.Builder(definition, context=options)
        for clip in origin.clips:
            if clip.manifest is not None:
                builder.add_ingredient_from_archive(io.BytesIO(clip.manifest))
        return builder

    def _try(self) -> None:
        """Sign and read a few bytes, so that a wrong key or certificate ends the start."""
        fix = "use a certificate for signing as docs/provenance.md describes"
        try:
            builder = c2pa.Builder(_definition([CREATED]), context=self._options)
            builder.set_no_embed()
            signed = builder.sign(
                self._plain, "application/octet-stream", io.BytesIO(TRIAL), io.BytesIO()
            )
            reader = c2pa.Reader(
                "application/octet-stream", io.BytesIO(TRIAL), signed, context=self._options
            )
            state, status = reader.get_validation_state(), json.loads(reader.json())
        except c2pa.C2paError as error:
            raise SigningError(f"VISAVIS_SIGN_CERTIFICATE: {error}; {fix}") from error
        if state not in ("Valid", "Trusted"):
            codes = ", ".join(each["code"] for each in status.get("validation_status", ()))
            raise SigningError(f"VISAVIS_SIGN_CERTIFICATE: not accepted ({codes}); {fix}")


class Discarded(io.RawIOBase):
    """A file whose content nobody needs: a manifest beside a file leaves the file as it is."""

    def __init__(self) -> None:
        self._position = self._size = 0

    def write(self, content: Any) -> int:
        self._position += len(content)
        self._size = max(self._size, self._position)
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = (0, self._position, self._size)[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        return b""

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class Guarded:
    """A file that remembers its error, which the library replaces by one without a number."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return int(self._file.write(content))
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def open_signer(settings: Settings, own: Path | None = None) -> ManifestSigner | None:
    """Return the signer of the settings; None where `VISAVIS_SIGN` turns it off.

    own: folder for a key that this machine makes; default `worker.provenance.keys.own_folder`.

    Raises: SigningError: when key or certificate are missing or wrong.
    """
    if not settings.sign:
        logger.warning("outputs are not signed", extra={"setting": "VISAVIS_SIGN=false"})
        return None
    key = load_key(settings, own)
    if key.self_made:
        logger.info("manifests are signed by a key that this machine has made for itself")
    return ManifestSigner(key, operator=settings.operator, time_stamps=settings.sign_time_stamps)


def sidecar_of(path: Path) -> Path:
    """Return the path of the manifest beside a file."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def _signer(key: SigningKey, time_stamps: str | None) -> c2pa.Signer:
    try:
        if key.sign is not None:
            algorithm = c2pa.C2paSigningAlg[key.algorithm.upper()]
            chain = key.certificates.decode()
            return c2pa.Signer.from_callback(key.sign, algorithm, chain, time_stamps)
        info = c2pa.C2paSignerInfo(
            key.algorithm.encode(),
            key.certificates,
            key.key,
            None if time_stamps is None else time_stamps.encode(),
        )
        return c2pa.Signer.from_info(info)
    except c2pa.C2paError as error:
        raise SigningError(
            f"VISAVIS_SIGN_CERTIFICATE: {error}; check key and certificates"
        ) from error


def _definition(
    assertions: Sequence[dict[str, Any]], ingredients: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    return {
        "claim_generator_info": [{"name": "visavis", "version": version("visavis-server")}],
        "assertions": list(assertions),
        "ingredients": list(ingredients),
    }


def _target(path: Path | None) -> Any:
    return Discarded() if path is None else path.open("w+b")


def _stated(person: ShownPerson) -> dict[str, Any]:
    return {
        "name": person.name, "digest": person.digest, "consent": person.consent.to_json()
    }  # fmt: skip


def _ingredient(clip: Clip, title: str) -> dict[str, Any]:
    return {
        "title": title,
        "relationship": "inputTo",
        "format": "audio",
        "instance_id": f"sha256:{clip.sha256}",
    }
