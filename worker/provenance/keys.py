"""Key and certificates that sign manifests: the operator's, or a chain that this machine makes.

The operator's key is a PEM text, or a function that signs with a key elsewhere (PKCS#11, a key
management service). Without either, the first start makes a certificate authority that signs one
certificate and forgets its key: it proves that a file is unchanged, not who made it.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contracts.errors import InputError
from contracts.files import private_folder
from jobs.sandbox.manifests import CERTIFICATES, FOLDER, user_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        PublicKeyTypes,
    )

    from jobs.settings import Settings

    Sign = Callable[[bytes], bytes]

KEY = "key.pem"  # beside its certificates
YEARS = timedelta(days=3650)
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class SigningError(InputError):
    """A key or certificate that cannot sign."""


@dataclass(frozen=True)
class SigningKey:
    """A private key with its certificates. One of `key` and `sign` is set."""

    algorithm: str  # of C2PA: "es256"
    certificates: bytes  # PEM, the one of the key first
    key: bytes | None = None  # PEM, PKCS #8
    sign: Sign | None = None
    self_made: bool = False

    def __repr__(self) -> str:
        return f"<SigningKey {self.algorithm}>"


def load_key(settings: Settings, own: Path | None = None) -> SigningKey:
    """Return the key in the settings, or the one of this machine, made on first use.

    own: folder of the latter; default `own_folder`.

    Raises: SigningError: when a part is missing, unreadable, expired, or not of the other.
    """
    path, text, function = settings.sign_certificate, settings.sign_key, settings.sign_with
    if path is None:
        if text is not None or function:
            raise SigningError(
                "VISAVIS_SIGN_CERTIFICATE: missing; name the PEM file with the certificates of "
                "the key"
            )
        return _own_key(own or own_folder(settings))
    if (text is None) == (not function):
        raise SigningError(
            "VISAVIS_SIGN_KEY: set it, or VISAVIS_SIGN_WITH, and not both: one of them signs for "
            "VISAVIS_SIGN_CERTIFICATE"
        )
    certificates = _read(path, "VISAVIS_SIGN_CERTIFICATE")
    first = _certificate(certificates, "VISAVIS_SIGN_CERTIFICATE")
    if text is None:
        algorithm = _algorithm(first.public_key())
        return SigningKey(algorithm, certificates, sign=_function(function, algorithm))
    return _key_for(first, certificates, text.get_secret_value().encode(), "VISAVIS_SIGN_KEY")


def own_folder(settings: Settings) -> Path:
    """Return the folder of this machine's key: in the data folder, or the user's without one.

    Commands such as `generate` need no data folder, and make none.
    """
    return settings.data / FOLDER if settings.data.is_dir() else user_folder()


def _own_key(folder: Path) -> SigningKey:
    if not folder.is_dir():
        _make_chain(folder)
    certificates = _read(folder / CERTIFICATES, str(folder / CERTIFICATES))
    key = _read(folder / KEY, str(folder / KEY))
    first = _certificate(certificates, str(folder / CERTIFICATES))
    made = _key_for(first, certificates, key, str(folder / KEY))
    return SigningKey(made.algorithm, made.certificates, made.key, self_made=True)


def _make_chain(folder: Path) -> None:
    """Make key and certificates; where two processes start at once, those of the first stay."""
    try:
        private_folder(folder.parent)
        draft = tempfile.mkdtemp(prefix=".signing-", dir=folder.parent)  # mode 0700
    except OSError as error:
        raise SigningError(
            f"{folder}: cannot be written ({error.strerror}); correct VISAVIS_DATA, or set "
            "VISAVIS_SIGN_CERTIFICATE and VISAVIS_SIGN_KEY"
        ) from error
    key, certificates = self_made_chain()
    try:
        for name, content in ((KEY, key), (CERTIFICATES, certificates)):
            descriptor = os.open(os.path.join(draft, name), os.O_WRONLY | os.O_CREAT, 0o600)  # noqa: PTH118
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        os.rename(draft, folder)  # noqa: PTH104 - fails where another process was first
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def self_made_chain(name: str = "visavis on this machine") -> tuple[bytes, bytes]:
    """Return a new private key and its certificates, both PEM: its own and that of its issuer."""
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer, subject = _name(f"{name}: root"), _name(name)
    start = datetime.now(UTC) - timedelta(days=1)
    top = _issued(issuer, issuer, root.public_key(), root, start, authority=True)
    leaf = _issued(subject, issuer, key.public_key(), root, start, authority=False)
    pem = serialization.Encoding.PEM
    return _pem_of(key), leaf.public_bytes(pem) + top.public_bytes(pem)


def _issued(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    root: ec.EllipticCurvePrivateKey,
    start: datetime,
    *,
    authority: bool,
) -> x509.Certificate:
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"),
        False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + YEARS)
        .add_extension(x509.BasicConstraints(authority, 0 if authority else None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                key_cert_sign=authority,
                crl_sign=authority,
                **usage,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if not authority:
        emails = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key())
        builder = builder.add_extension(emails, critical=False).add_extension(above, critical=False)
    return builder.sign(root, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "visavis (self-made)"),
            x509.NameAttribute(NameOID.COMMON_NAME, text),
        ]
    )


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SigningError(f"{name}: {path} cannot be read ({error.strerror})") from error


def _certificate(content: bytes, name: str) -> x509.Certificate:
    """Return the first certificate, within its validity."""
    try:
        first = x509.load_pem_x509_certificates(content)[0]
    except ValueError as error:
        raise SigningError(f"{name}: not a PEM file of certificates; check the file") from error
    now = datetime.now(UTC)
    if not first.not_valid_before_utc <= now <= first.not_valid_after_utc:
        raise SigningError(
            f"{name}: the certificate is valid from {first.not_valid_before_utc:%Y-%m-%d} to "
            f"{first.not_valid_after_utc:%Y-%m-%d}; renew it"
        )
    return first


def _key_for(
    certificate: x509.Certificate, certificates: bytes, content: bytes, name: str
) -> SigningKey:
    try:
        key = serialization.load_pem_private_key(content, None)
    except TypeError:
        raise SigningError(f"{name}: the key has a password; remove it") from None
    except (ValueError, UnsupportedAlgorithm):  # its text may be in the cause
        raise SigningError(f"{name}: not a private key in PEM; check the value") from None
    public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*public) != certificate.public_key().public_bytes(*public):
        raise SigningError(
            f"{name}: not the key of the first certificate in VISAVIS_SIGN_CERTIFICATE; put the "
            "certificate of the key first, or name the other key"
        )
    algorithm = _algorithm(key.public_key())
    assert isinstance(
        key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    )
    return SigningKey(algorithm, certificates, key=_pem_of(key))


def _pem_of(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _algorithm(public: PublicKeyTypes) -> str:
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in CURVES:
        return CURVES[public.curve.name]
    if isinstance(public, rsa.RSAPublicKey) and public.key_size >= 2048:
        return "ps256"
    if isinstance(public, ed25519.Ed25519PublicKey):
        return "ed25519"
    raise SigningError(
        "VISAVIS_SIGN_CERTIFICATE: unsupported kind of key; use P-256, P-384, P-521, Ed25519 or "
        "RSA of 2048 bits or more"
    )


def _function(name: str, algorithm: str) -> Sign:
    """Import `module:function`, which signs bytes; DER of elliptic curves is converted."""
    module, _, attribute = name.partition(":")
    try:
        function: Sign = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SigningError(
            f"VISAVIS_SIGN_WITH: {name!r} cannot be imported ({type(error).__name__}); write "
            "module:function, with the module on PYTHONPATH"
        ) from error
    if not algorithm.startswith("es"):
        return function
    size = {"es256": 32, "es384": 48, "es512": 66}[algorithm]

    def sign(data: bytes) -> bytes:
        signature = function(data)
        if len(signature) == 2 * size:
            return signature
        return b"".join(part.to_bytes(size, "big") for part in decode_dss_signature(signature))

    return sign
