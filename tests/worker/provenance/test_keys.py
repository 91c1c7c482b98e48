"""Keys of manifests: the operator's, that of this machine, and wrong ones."""

import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from contracts.outputs import OUTPUTS
from contracts.provenance import ManifestState, Origin
from jobs.settings import Settings
from jobs.telemetry.redaction import redact
from worker.provenance.keys import SigningError, load_key, self_made_chain
from worker.provenance.manifest import open_signer, sidecar_of
from worker.provenance.reader import read_manifest

KEY, CERTIFICATES = self_made_chain("Example Ltd")
OTHER, _ = self_made_chain("Another Ltd")


def sign_elsewhere(data: bytes) -> bytes:
    """Sign as a key management service does: in DER."""
    key = serialization.load_pem_private_key(KEY, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "certificates.pem"
    path.write_bytes(CERTIFICATES)
    return path


@pytest.mark.parametrize(
    "given",
    [{"sign_key": KEY.decode()}, {"sign_with": f"{__name__}:sign_elsewhere"}],
    ids=["PEM", "function"],
)
def test_the_key_of_the_operator_signs(
    pem: Path, tmp_path: Path, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: __import__("sys").modules[__name__])
    signer = open_signer(Settings(data=tmp_path / "data", sign_certificate=pem, **given))
    (tmp_path / "a.csv").write_text("a\n1\n")
    assert signer is not None

    beside = signer.sign(tmp_path / "a.csv", OUTPUTS["csv"], Origin("r", "ada", "d"), {"seed": 1})

    sidecar = sidecar_of(tmp_path / "a.csv").read_bytes()
    found = read_manifest(tmp_path / "a.csv", sidecar=sidecar, trusted=CERTIFICATES.decode())
    assert beside and found.state is ManifestState.VALID and found.trusted
    assert found.signer == "Example Ltd"
    assert not (tmp_path / "data").exists()


def test_a_machine_makes_one_key_for_its_owner(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)

    first, second = load_key(settings), load_key(settings)

    assert first == second and first.self_made
    folder = tmp_path / "signing"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["signing"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "VISAVIS_SIGN_KEY: set it, or VISAVIS_SIGN_WITH"),
        (OTHER.decode(), "VISAVIS_SIGN_KEY: not the key of the first certificate"),
        ("secret-text", "VISAVIS_SIGN_KEY: not a private key in PEM"),
    ],
)
def test_a_missing_or_wrong_key_is_one_sentence_without_the_key(
    pem: Path, tmp_path: Path, key: str | None, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings(data=tmp_path, sign_certificate=pem, sign_key=key)

    with pytest.raises(SigningError, match=message) as caught:
        open_signer(settings)

    shown = f"{caught.value!r} {caught.value.__cause__!r} {settings!r} {caplog.text}"
    assert "secret-text" not in shown and "PRIVATE KEY" not in shown


def test_a_certificate_that_may_not_sign_media_is_refused(tmp_path: Path) -> None:
    root = CERTIFICATES[CERTIFICATES.rindex(b"-----BEGIN") :]  # an authority, and not of this key
    (tmp_path / "root.pem").write_bytes(root)
    settings = Settings(
        data=tmp_path, sign_certificate=tmp_path / "root.pem", sign_with="json:dumps"
    )

    with pytest.raises(SigningError, match="VISAVIS_SIGN_CERTIFICATE: "):
        open_signer(settings)


def test_a_key_in_a_text_is_masked() -> None:
    text = redact(f"failed: {KEY.decode().strip()} at start")

    assert text == "failed: -----BEGIN PRIVATE KEY-----*** at start"
