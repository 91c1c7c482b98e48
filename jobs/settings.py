"""Everything an operator can set, read once from the environment in each process's door."""

from __future__ import annotations

import os
import secrets
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from jobs.targets import parse_allowed

REPOSITORY = Path(__file__).resolve().parents[1]
SECRET_BYTES = 32


def _database_in(done: dict[str, Any]) -> str:
    return f"sqlite:///{done['data'] / 'visavis.db'}"


def _objects_in(done: dict[str, Any]) -> str:
    return f"{done['data'].as_uri()}/objects"


def _scratch_in(done: dict[str, Any]) -> Path:
    return Path(done["data"]) / "scratch"


class Settings(BaseSettings):
    """Settings of API and worker: `VISAVIS_PORT=9000` sets `port`. See docs/operations.md."""

    model_config = SettingsConfigDict(
        env_prefix="VISAVIS_", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    data: Path = Field(default=Path(".visavis"), validate_default=True)
    database_url: str = Field(default_factory=_database_in)
    broker_url: str = ""  # empty: `visavis-server up` starts a Redis of its own and fills it in
    storage_url: str = Field(default_factory=_objects_in)
    people: Path = Field(default=REPOSITORY / "people", validate_default=True)
    signing_secret: SecretStr | None = None  # None: <data>/secret, made on first use
    previous_signing_secret: SecretStr | None = None  # while receivers of webhooks change over

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    access: Literal["auto", "keys"] = "auto"  # auto: a loopback host asks for no key
    public_url: str = ""  # empty: http://<host>:<port>
    migrate: bool = True  # whether the API brings the database up to date when it starts

    max_upload_bytes: int = Field(default=100 * 2**20, gt=0)
    max_clip_seconds: float = Field(default=600.0, gt=0)
    probe_seconds: float = Field(default=20.0, gt=0)  # wall clock for looking at one upload
    link_seconds: int = Field(default=3600, gt=0)

    lease_seconds: float = Field(default=15.0, gt=0)
    reaper_seconds: float = Field(default=3.0, gt=0)
    wake_seconds: float = Field(default=10.0, gt=0)  # a queued job is announced again
    max_attempts: int = Field(default=3, ge=1)

    webhook_seconds: float = Field(default=15.0, gt=0)  # wall clock for one try
    outbound_allow: Annotated[tuple[str, ...], NoDecode] = ()  # networks and hosts, comma between
    outbound_ca: Path | None = None  # certificates that are trusted beside the usual ones

    device: str = "auto"
    threads: int = Field(default=0, ge=0)  # of one worker; 0: as many as torch finds cores
    scratch: Path = Field(default_factory=_scratch_in)
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("outbound_allow", mode="before")
    @classmethod
    def _entries(cls, given: Any) -> Any:
        entries = given.replace(",", " ").split() if isinstance(given, str) else given
        parse_allowed(entries)
        return entries

    @field_validator("outbound_ca")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        if path is not None:
            import ssl

            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
            except OSError as error:
                raise ValueError(f"no certificates can be read from {path}: {error}") from error
        return path

    @field_validator("data", "people", "scratch")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()

    @model_validator(mode="after")
    def _reap_within_the_lease(self) -> Settings:
        if self.reaper_seconds > self.lease_seconds:
            raise ValueError(
                f"reaper_seconds {self.reaper_seconds} is longer than lease_seconds "
                f"{self.lease_seconds}: a lost job would wait for the reaper"
            )
        return self

    @property
    def address(self) -> str:
        """The address that links in answers start with, without a slash at the end."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def keys_needed(self) -> bool:
        """Whether every caller needs a key; else whoever calls from this machine needs none."""
        return self.access == "keys" or not loopback(self.host)

    def signing_key(self) -> bytes:
        """The secret that signs links; made once in `<data>/secret` where none is set."""
        if self.signing_secret is not None:
            return self.signing_secret.get_secret_value().encode()
        return _kept_secret(self.data / "secret")

    def signing_keys(self) -> list[bytes]:
        """The secret that webhooks are signed with, and the one before it while both hold."""
        previous = self.previous_signing_secret
        if previous is None:
            return [self.signing_key()]
        return [self.signing_key(), previous.get_secret_value().encode()]


def loopback(host: str) -> bool:
    """Whether this address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # another name, or none
        return False


def _kept_secret(path: Path) -> bytes:
    """Read the secret at `path`; the first of several processes writes it, the others read it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".secret-{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(SECRET_BYTES))
        try:
            path.hardlink_to(draft)  # fails where another process was first, and never half done
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()
