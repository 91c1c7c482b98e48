"""Recordings in manifests: by digest, and with the manifest that they came with."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

from contracts.outputs import OUTPUTS
from contracts.provenance import ManifestState, ShownPerson
from jobs.request.model import GenerateRequest
from jobs.sandbox.manifests import detect, facts_of
from jobs.settings import Settings
from tests.audio_clips import write_clip
from worker.pipeline.publish import origin_of
from worker.provenance.manifest import ManifestSigner
from worker.provenance.reader import read_manifest

DEMO = ShownPerson("demo", "d")


def test_recordings_are_named_by_digest_and_one_with_a_manifest_is_the_parent(
    tmp_path: Path, signer: ManifestSigner, settings: Settings
) -> None:
    plain = write_clip(tmp_path / "plain.wav", seconds=0.2)
    signed = Path(shutil.copy(plain, tmp_path / "signed.wav"))
    request = GenerateRequest(seed=1)
    wav = replace(OUTPUTS["mp4"], name="wav", content_type="audio/wav")
    signer.sign(signed, wav, origin_of(request, [DEMO], [plain]), {})

    origin = origin_of(request, [DEMO], [signed, signed])
    again = Path(shutil.copy(plain, tmp_path / "again.wav"))
    signer.sign(again, wav, origin, {})
    report = detect(again, facts=facts_of(settings))

    first = read_manifest(signed).claims
    assert first["recordings"] == [hashlib.sha256(plain.read_bytes()).hexdigest()]
    assert first["ingredients"][0]["instance_id"] == f"sha256:{first['recordings'][0]}"
    assert (report.manifest.state, report.manifest.trusted) == (ManifestState.VALID, True)
    relationships = [each["relationship"] for each in report.manifest.claims["ingredients"]]
    assert relationships == ["parentOf", "inputTo"]
    assert origin.request == origin_of(request, [DEMO], [signed, signed]).request
