"""Settings of the service, read once from the environment when a process starts."""

from __future__ import annotations

import math
import os
import re
import secrets
from collections.abc import Mapping  # noqa: TC003 - pydantic reads the annotation
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, create_model, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from contracts.avatar_kinds import avatar_settings
from contracts.errors import InputError
from contracts.files import private_folder
from contracts.stages import STAGE_SECONDS
from jobs.outbound.url_policy import parse_allowed

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

REPOSITORY = Path(__file__).resolve().parents[1]
SECRET_BYTES = 32
ORIGIN = re.compile(r"https?://[a-z0-9._-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


# Settings with credentials: also read from the file of `VISAVIS_<NAME>_FILE`, never printed.
SECRETS = (
    "database_url",
    "broker_url",
    "storage_url",
    "signing_secret",
    "previous_signing_secret",
    "sign_key",
    "watermark_key",
)
PREFIX = "VISAVIS_"
SHORTEST_MARK_KEY = 16  # bytes of a key of watermarks
BROKER_SCHEMES = ("redis", "rediss")
# Of the client: its key and its server; VISAVIS_KEY is the key in the examples of docs/api.md.
OTHER_VARIABLES = ("VISAVIS_API_KEY", "VISAVIS_BASE_URL", "VISAVIS_KEY")
SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)\b|_SERVICE_PORT_|_PORT_\d+_|_PORT=tcp://")


class WatermarkKeyError(InputError):
    """A file that should contain the key of watermarks, and does not."""


def _database_in(done: dict[str, Any]) -> str:
    return f"sqlite:///{done['data'] / 'visavis.db'}"


def _objects_in(done: dict[str, Any]) -> str:
    return f"{done['data'].as_uri()}/objects"


def _scratch_in(done: dict[str, Any]) -> Path:
    return Path(done["data"]) / "scratch"


class Group(StrEnum):
    """Groups of settings in docs/configuration.md."""

    LOCATIONS = "Locations"
    API = "The API"
    TENANTS = "Tenants"
    JOBS = "Jobs"
    RETENTION = "Retention"
    WEBHOOKS = "Webhooks"
    WORKERS = "Workers and logs"
    MONITORING = "Metrics, traces and cost"
    PROVENANCE = "Origin of outputs"


def _setting(group: Group, meaning: str, *, shown: str | None = None, **options: Any) -> Any:
    """Declare a setting. shown: its default in the documentation, if it depends on others."""
    return Field(description=meaning, json_schema_extra={"group": group, "shown": shown}, **options)


if TYPE_CHECKING:
    _AvatarSettings = BaseSettings
else:
    _AvatarSettings = create_model(
        "_AvatarSettings",
        __base__=BaseSettings,
        **{
            each.name: (each.type, _setting(Group.WORKERS, each.meaning, default=each.default))
            for each in avatar_settings()
        },
    )


class Settings(_AvatarSettings):
    """Settings of API and worker: `VISAVIS_PORT=9000` sets `port`. See docs/configuration.md."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    data: Path = _setting(
        Group.LOCATIONS,
        "folder for all data on this machine",
        default=Path(".visavis"),
        validate_default=True,
        shown="`.visavis`",
    )
    database_url: str = _setting(
        Group.LOCATIONS,
        "job records: SQLite or PostgreSQL (psycopg 3)",
        default_factory=_database_in,
        repr=False,
        shown="`sqlite:///<data>/visavis.db`",
    )
    broker_url: str = _setting(
        Group.LOCATIONS,
        "Redis for wake-ups; empty: `visavis-server up` starts one if it finds a server, else "
        "workers look for jobs four times a second",
        default="",
        repr=False,
    )
    storage_url: str = _setting(
        Group.LOCATIONS,
        "clips, motion and videos: `file:///folder` or "
        "`s3://bucket/prefix?endpoint_url=…&public_endpoint_url=…&region=…`, where the public one "
        "is for signed links, if callers reach the bucket at another address",
        default_factory=_objects_in,
        repr=False,
        shown="`file://<data>/objects`",
    )
    people: Path = _setting(
        Group.LOCATIONS,
        "folder with one person directory for each person",
        default=REPOSITORY / "people",
        validate_default=True,
        shown="`people` of the repository",
    )
    signing_secret: SecretStr | None = _setting(
        Group.LOCATIONS,
        "signs links into the local folder; use the same one for API processes on several machines",
        default=None,
        shown="`<data>/secret`, created on first use",
    )
    previous_signing_secret: SecretStr | None = _setting(
        Group.LOCATIONS,
        "the previous one, while receivers of webhooks change over: see "
        "[webhooks](operations.md#webhooks)",
        default=None,
    )

    host: str = _setting(
        Group.API,
        "address to listen on",
        default="127.0.0.1",
    )
    port: int = _setting(
        Group.API,
        "port to listen on",
        default=8000,
        ge=0,
        le=65535,
    )
    access: Literal["auto", "keys"] = _setting(
        Group.API,
        "`auto`: callers need a key unless `VISAVIS_HOST` is loopback; `keys`: always, "
        "as behind a proxy",
        default="auto",
    )
    public_url: str = _setting(
        Group.API,
        "base of links, `https://video.example`; empty: the address of the request",
        default="",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = _setting(
        Group.API,
        "web pages of other origins that may call, "
        "`https://app.example,http://localhost:3000`; empty: none",
        default=(),
    )
    migrate: bool = _setting(
        Group.API,
        "API and worker migrate the database when they start; `false` if a deployment "
        "runs `visavis-server migrate`: then they refuse to start while a migration is "
        "pending",
        default=True,
    )
    max_upload_bytes: int = _setting(
        Group.API,
        "larger uploads are rejected with 413; an hour of 48 kHz stereo WAV has 691 MB, or 1.04 GB "
        "with 24 bits",
        default=2**30,
        gt=0,
    )
    uploads_at_once: int = _setting(
        Group.API,
        "uploads that are received, downloaded and probed at a time, others get 503; a tenant has "
        "at most half of them; each may take twice its size in the temporary folder",
        default=64,
        gt=0,
    )
    waits_at_once: int = _setting(
        Group.API,
        "event streams and long polls of one API process at a time, others get 503; each holds an "
        "open file, of which the process may have `ulimit -n`",
        default=2000,
        gt=0,
    )
    upload_seconds: float = _setting(
        Group.API,
        "an upload that takes longer to arrive, or sends less than 4 KiB a second, gets 408",
        default=600.0,
        gt=0,
    )
    max_large_upload_bytes: int = _setting(
        Group.API,
        "size limit of `POST /uploads`, whose parts go directly to the storage",
        default=2 * 2**30,
        gt=0,
    )
    audio_urls: bool = _setting(
        Group.API,
        "`true`: `audio_url` of `POST /generate` is downloaded, under the same rules as"
        " [webhooks](operations.md#webhooks)",
        default=False,
    )
    audio_url_seconds: float = _setting(
        Group.API,
        "wall clock for one such download",
        default=60.0,
        gt=0,
    )
    upload_hours: float = _setting(
        Group.API,
        "how long jobs may use a clip sent by `POST /uploads`",
        default=24.0,
        gt=0,
    )
    max_clip_seconds: float = _setting(
        Group.API,
        "longer clips are rejected; a person's limit may be lower and also applies",
        default=3600.0,
        gt=0,
    )
    probe_seconds: float = _setting(
        Group.API,
        "wall clock for probing one upload, in a child process, and a second more for each minute "
        "that its clip may last",
        default=20.0,
        gt=0,
    )
    link_seconds: int = _setting(
        Group.API,
        "how long a signed link is valid",
        default=3600,
        gt=0,
    )

    quota_jobs_in_flight: int = _setting(
        Group.TENANTS,
        "queued and running jobs of one tenant; `0`: no limit",
        default=0,
        ge=0,
    )
    quota_seconds_a_day: float = _setting(
        Group.TENANTS,
        "seconds of audio accepted from one tenant per day; `0`: no limit",
        default=0.0,
        ge=0,
    )
    quota_stored_bytes: int = _setting(
        Group.TENANTS,
        "bytes of clips and outputs of one tenant; `0`: no limit",
        default=0,
        ge=0,
    )
    reads_per_minute: int = _setting(
        Group.TENANTS,
        "requests of one key that change nothing; `0`: no limit",
        default=1200,
        ge=0,
    )
    writes_per_minute: int = _setting(
        Group.TENANTS,
        "requests of one key that change something; `0`: no limit",
        default=120,
        ge=0,
    )

    lease_seconds: float = _setting(
        Group.JOBS,
        "a worker that has not renewed its lease for this long has lost its job",
        default=15.0,
        gt=0,
    )
    reaper_seconds: float = _setting(
        Group.JOBS,
        "interval at which each API process looks for lost jobs; not more than the lease",
        default=3.0,
        gt=0,
    )
    wake_seconds: float = _setting(
        Group.JOBS,
        "a waiting job is announced again after this long",
        default=10.0,
        gt=0,
    )
    max_attempts: int = _setting(
        Group.JOBS,
        "lost or failed attempts after which a job fails, with the reason",
        default=3,
        ge=1,
    )
    stage_seconds: Annotated[Mapping[str, float], NoDecode] = _setting(
        Group.JOBS,
        "how long a stage may show no progress, instead of 600 s (`render`: 900 s) for "
        "a clip of up to 20 s: `render=1800,speech=120`; longer clips have "
        "proportionally more",
        default=STAGE_SECONDS,
        shown="empty",
    )

    keep_inputs_days: float = _setting(
        Group.RETENTION,
        "days until clips are removed, after the end of their job; `0`: never; a job without one "
        "cannot be retried (410 `input_expired`)",
        default=0.0,
        ge=0,
    )
    keep_outputs_days: float = _setting(
        Group.RETENTION,
        "the same for videos and motion; the job stays, `expired`, and its downloads get 410 "
        "`output_expired`",
        default=0.0,
        ge=0,
    )
    keep_jobs_days: float = _setting(
        Group.RETENTION,
        "the same for everything of a job, with its row",
        default=0.0,
        ge=0,
    )
    keep_leftovers_days: float = _setting(
        Group.RETENTION,
        "the same for orphaned objects: motion and files of unpublished attempts, clips whose job "
        "was never created",
        default=7.0,
        ge=0,
    )

    webhook_seconds: float = _setting(
        Group.WEBHOOKS,
        "wall clock for one try, from name resolution to the end of the response",
        default=15.0,
        gt=0,
    )
    outbound_allow: Annotated[tuple[str, ...], NoDecode] = _setting(
        Group.WEBHOOKS,
        "allowed addresses beyond the public internet: networks, addresses and host "
        "names, comma-separated, `10.1.0.0/16,hooks.corp.example`",
        default=(),
    )
    outbound_ca: Path | None = _setting(
        Group.WEBHOOKS,
        "a PEM file of certificate authorities that are trusted in addition to those of browsers",
        default=None,
    )

    device: str = _setting(
        Group.WORKERS,
        "`cpu`, `cuda`, `cuda:1`; `auto` uses the GPU if there is one",
        default="auto",
    )
    worker_people: Annotated[tuple[str, ...], NoDecode] = _setting(
        Group.WORKERS,
        "people whose jobs a worker claims, comma-separated; a job of two people needs both; "
        "empty: all",
        default=(),
    )
    drain_seconds: float = _setting(
        Group.WORKERS,
        "how long a worker may go on with its job after SIGTERM before it requeues it; a second "
        "signal requeues it at once. Give the process about a minute more before it is killed. "
        "`visavis-server up` ignores it",
        default=0.0,
        ge=0,
    )
    jobs_together: int = _setting(
        Group.WORKERS,
        "most jobs of one person that a worker has at a time; their motion is sampled together, "
        "and their videos are rendered one after another: see "
        "[operations](operations.md#jobs-together)",
        default=1,
        ge=1,
        le=64,
    )
    threads: int = _setting(
        Group.WORKERS,
        "CPU threads of one worker; `0`: the number of cores, as torch counts them",
        default=0,
        ge=0,
    )
    scratch: Path = _setting(
        Group.WORKERS,
        "space for the files of the running job: 23 MB per minute of decoded clip; its "
        "video in the [formats](api.md#outputs) `mov` and `png` takes about half a byte"
        " per pixel: 230 MB per minute at 512x512, 72 GB for ten minutes of the largest"
        " pictures. Use a local disk: a lock in this folder shows whether a worker is "
        "alive",
        default_factory=_scratch_in,
        shown="`<data>/scratch`",
    )
    log_format: Literal["console", "json"] = _setting(
        Group.WORKERS,
        "`json`: one object per line, for collectors",
        default="console",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        Group.WORKERS,
        "`debug`, `info`, `warning`, `error`",
        default="info",
    )

    metrics_port: int = _setting(
        Group.MONITORING,
        "port of each process, API or worker, at which Prometheus reads `/metrics`, without a key; "
        "where it is in use, the next free one of 32, which the log names; `0`: none",
        default=0,
        ge=0,
        le=65535,
    )
    metrics_host: str = _setting(
        Group.MONITORING,
        "address of that port; keep it off the public network",
        default="127.0.0.1",
    )
    traces: Literal["off", "otlp"] = _setting(
        Group.MONITORING,
        "`otlp`: spans of requests and jobs are sent by OTLP over HTTP, with the extra `traces`; "
        "the standard variables `OTEL_…` name the receiver, by default `http://localhost:4318`",
        default="off",
    )
    cost_per_hour: float = _setting(
        Group.MONITORING,
        "price of one hour of a worker's device, for the cost of jobs; set it on workers; `0`: no "
        "cost",
        default=0.0,
        ge=0,
        allow_inf_nan=False,
    )
    cost_currency: str = _setting(
        Group.MONITORING,
        "currency of that price, one for all workers",
        default="USD",
        pattern=r"^[A-Z]{3}$",
    )

    use: Literal["non-commercial", "commercial"] | None = _setting(
        Group.PROVENANCE,
        "`commercial`: every request counts as commercial use, and people whose licence or consent "
        "does not cover it are refused; see [consent](provenance.md#consent)",
        default=None,
    )
    operator: str = _setting(
        Group.PROVENANCE,
        "name of the organisation that runs the service, stated in every manifest",
        default="",
        max_length=200,
    )
    sign: bool = _setting(
        Group.PROVENANCE,
        "outputs carry a signed [manifest](provenance.md#manifest); `false` is for experiments",
        default=True,
    )
    sign_certificate: Path | None = _setting(
        Group.PROVENANCE,
        "PEM file of the certificates that sign manifests, that of the key first",
        default=None,
        shown="`<data>/signing`, made on first use",
    )
    sign_key: SecretStr | None = _setting(
        Group.PROVENANCE,
        "private key of the first certificate, as PEM",
        default=None,
        shown="`<data>/signing`, made on first use",
    )
    sign_with: str = _setting(
        Group.PROVENANCE,
        "`module:function` that signs bytes instead, with a key in an HSM or a key management "
        "service",
        default="",
        pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
    )
    sign_time_stamps: str = _setting(
        Group.PROVENANCE,
        "URL of a time stamp authority (RFC 3161); empty: manifests have no time",
        default="",
        pattern=r"^$|^https?://",
    )
    watermark: Literal["on", "optional", "off"] = _setting(
        Group.PROVENANCE,
        "[watermark](provenance.md#watermark) in picture and sound; `optional`: a request may "
        "leave it out; `off`: none",
        default="on",
    )
    watermark_key: SecretStr | None = _setting(
        Group.PROVENANCE,
        "key of watermarks, 16 characters or more: the same one on all machines, and for ever, "
        "because only it finds them",
        default=None,
        shown="`<data>/watermark`, created on first use",
    )
    trust: Path | None = _setting(
        Group.PROVENANCE,
        "PEM file of further certificates that [detection](provenance.md#detection) trusts",
        default=None,
    )
    detect: Literal["keys", "open"] = _setting(
        Group.PROVENANCE,
        "`open`: `POST /detect` needs no key, as rules for providers of synthetic video ask for",
        default="keys",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Precedence: arguments, the environment, then files named in the environment."""
        return init_settings, env_settings, _SecretFiles(settings_cls)

    @field_validator("broker_url", "storage_url")
    @classmethod
    def _parsable(cls, url: str) -> str:
        """Check that an address can be parsed; an error must not contain a piece of a password."""
        try:
            parts = urlsplit(url)
            unclear = parts.port is not None and "@" in parts.path
        except ValueError:
            unclear = True
        if unclear or (parts.scheme in BROKER_SCHEMES and "@" in parts.path):
            raise ValueError(
                "cannot be parsed; in user names and passwords write / as %2F, @ as %40, : as %3A"
            )
        return url

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
                raise ValueError(f"cannot read certificates from {path}: {error}") from error
        return path

    @field_validator("sign_certificate", "trust")
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        if path is not None and not path.expanduser().is_file():
            raise ValueError(f"no file {path}; correct the path")
        return None if path is None else path.expanduser().resolve()

    @field_validator("watermark_key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and (size := len(key.get_secret_value())) < SHORTEST_MARK_KEY:
            raise ValueError(f"{size} characters; use {SHORTEST_MARK_KEY} or more")
        return key

    @field_validator("data", "people", "scratch")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()

    @field_validator("cors_origins", "worker_people", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        return [each.strip() for each in given.split(",")] if isinstance(given, str) else given

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if ORIGIN.fullmatch(origin) is None:
                raise ValueError(
                    f"invalid origin {origin!r}; write scheme and host as browsers send them, "
                    '"https://app.example,http://localhost:3000"'
                )
        return origins

    @field_validator("stage_seconds", mode="before")
    @classmethod
    def _some_stages(cls, given: Any) -> Any:
        return dict(STAGE_SECONDS) | _seconds_of(given) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _reap_within_the_lease(self) -> Settings:
        if self.reaper_seconds > self.lease_seconds:
            raise ValueError(
                f"reaper_seconds {self.reaper_seconds} is longer than lease_seconds "
                f"{self.lease_seconds}: a lost job would wait for the reaper"
            )
        return self

    @property
    def avatar_settings(self) -> dict[str, Any]:
        """Values of the settings that avatar kinds declare, by name."""
        return {each.name: getattr(self, each.name) for each in avatar_settings()}

    @property
    def address(self) -> str:
        """Base URL of links in responses, without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def keys_needed(self) -> bool:
        """True when every caller needs an API key."""
        return self.access == "keys" or not loopback(self.host)

    def signing_key(self) -> bytes:
        """Return the secret that signs links; `<data>/secret` is created when none is set."""
        if self.signing_secret is not None:
            return self.signing_secret.get_secret_value().encode()
        return _kept_secret(self.data / "secret")

    def marking_key(self) -> bytes | None:
        """Return the key of watermarks, or None without them.

        A file `watermark` is created when no key is set.
        Raises: WatermarkKeyError: when that file contains no key. OSError: when it is unreadable.
        """
        if self.watermark == "off":
            return None
        if self.watermark_key is not None:
            return self.watermark_key.get_secret_value().encode()
        return _kept_mark_key(self.mark_key_file())

    def mark_key_file(self) -> Path:
        """Return the file of the key that this machine makes for watermarks."""
        folders = self._key_folders()
        return (folders[0] if folders[0].is_dir() else folders[1]) / "watermark"

    def marking_keys(self) -> list[bytes]:
        """Return the keys whose watermarks are found: that of the settings, and those made here."""
        made = [folder / "watermark" for folder in self._key_folders()]
        keys = [path.read_bytes() for path in made if path.is_file()]
        keys = [key for key in keys if len(key) >= SHORTEST_MARK_KEY]
        if self.watermark_key is not None:
            keys.insert(0, self.watermark_key.get_secret_value().encode())
        return keys

    def _key_folders(self) -> tuple[Path, Path]:
        """Return the data folder, and that of commands without one (XDG base directories)."""
        user = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return self.data, Path(user) / "visavis"

    def signing_keys(self) -> list[bytes]:
        """Return the secret that signs webhooks and, during a rotation, the previous one."""
        previous = self.previous_signing_secret
        if previous is None:
            return [self.signing_key()]
        return [self.signing_key(), previous.get_secret_value().encode()]


class _SecretFiles(PydanticBaseSettingsSource):
    """Settings source: secrets in files, as container platforms provide them."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return _read_secret(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: _read_secret(name) for name in SECRETS}
        return {name: value for name, value in found.items() if value is not None}


def known_variables() -> list[str]:
    """Return the environment variables that settings, the client or the tests read."""
    names = [*Settings.model_fields, *(f"{name}_file" for name in SECRETS)]
    return [*(f"{PREFIX}{name.upper()}" for name in names), *OTHER_VARIABLES]


def unknown_variables() -> list[str]:
    """Return variables with the prefix of settings that nothing reads, such as misspelt ones."""
    known = set(known_variables())
    # Kubernetes sets VISAVIS_API_SERVICE_HOST and others for a service of the name visavis-api.
    return sorted(
        name
        for name, value in os.environ.items()
        if name.startswith(PREFIX)
        and name not in known
        and not SERVICE_LINK.search(f"{name}={value}")
    )


def secret_files() -> dict[str, Path]:
    """Return the secret files named in the environment, by setting."""
    named = {name: os.environ.get(f"{PREFIX}{name.upper()}_FILE", "") for name in SECRETS}
    return {name: Path(path) for name, path in named.items() if path}


def _read_secret(name: str) -> str | None:
    path = secret_files().get(name)
    if path is None:
        return None
    variable = f"{PREFIX}{name.upper()}"
    if os.environ.get(variable):
        raise SettingsError(f"{variable} and {variable}_FILE are both set; unset one of them")
    try:
        value = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"{variable}_FILE: {path} cannot be read ({why})") from None
    if not value:
        raise SettingsError(f"{variable}_FILE: {path} is empty; write the value into it")
    return value


def _seconds_of(text: str) -> dict[str, float]:
    """Parse `render=60,face=9`."""
    seconds_of: dict[str, float] = {}
    for word in text.split(","):
        stage, _, seconds = (part.strip() for part in word.partition("="))
        if stage not in STAGE_SECONDS:
            raise ValueError(f"unknown stage {stage!r}; available: {', '.join(STAGE_SECONDS)}")
        try:
            seconds_of[stage] = float(seconds)
        except ValueError:
            raise ValueError(
                f"invalid number of seconds in {word.strip()!r}; write render=900"
            ) from None
        if not 0 < seconds_of[stage] < math.inf:
            raise ValueError(
                f"invalid time in {word.strip()!r}; write a number above 0: render=900"
            )
    return seconds_of


def loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # another name, or an invalid address
        return False


def _kept_mark_key(path: Path) -> bytes:
    key = _kept_secret(path)
    if len(key) < SHORTEST_MARK_KEY:
        raise WatermarkKeyError(
            f"{path}: not a key of watermarks ({len(key)} bytes); restore the file, or delete it "
            "for a new key, which does not find earlier marks"
        )
    return key


def _kept_secret(path: Path) -> bytes:
    """Read the secret at `path`; the first process creates it."""
    if not path.exists():
        private_folder(path.parent)
        draft = path.with_name(f".secret-{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(SECRET_BYTES))
        try:
            path.hardlink_to(draft)  # atomic; fails when another process was first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()
