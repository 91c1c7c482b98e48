"""Settings: read from the environment and from secret files, and validated."""

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from jobs.settings import REPOSITORY, SECRETS, Settings
from tests.jobs.secret_values import PASSWORD, SECRET_SETTINGS
from tools.configuration import updated


def test_all_paths_are_below_the_data_folder_by_default(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "d")

    assert settings.database_url == f"sqlite:///{tmp_path}/d/visavis.db"
    assert settings.storage_url == f"file://{tmp_path}/d/objects"
    assert settings.address == "http://127.0.0.1:8000"


def test_the_environment_is_read_and_empty_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_PORT", "9000")
    monkeypatch.setenv("VISAVIS_DATABASE_URL", "postgresql://db/visavis")
    monkeypatch.setenv("VISAVIS_STORAGE_URL", "")

    settings = Settings()

    assert (settings.port, settings.database_url) == (9000, "postgresql://db/visavis")
    assert settings.storage_url.startswith("file://")


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"takes": 3},
        {"max_attempts": 0},
        {"reaper_seconds": 20, "lease_seconds": 15},
        {"outbound_allow": "10.0.0.0/8,http://a"},
        {"outbound_ca": __file__},
        {"outbound_ca": "/nowhere.pem"},
    ],
)
def test_an_invalid_setting_is_rejected(tmp_path: Path, wrong: dict[str, int | str]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Settings.model_validate({"data": tmp_path} | wrong)


def test_concurrently_started_processes_share_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: Settings(data=tmp_path / "d").signing_key(), range(16)))

    assert len(keys) == 1
    assert len(keys.pop()) >= 32
    assert stat.S_IMODE((tmp_path / "d" / "secret").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["secret"]


def test_a_secret_from_the_environment_is_used_and_never_shown(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data": tmp_path, "signing_secret": "hush-hush"})

    assert settings.signing_key() == b"hush-hush"
    assert "hush-hush" not in repr(settings)
    assert not (tmp_path / "secret").exists()


def shown(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    return value.get_secret_value() if isinstance(value, SecretStr) else value


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_can_be_read_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "secret.txt").write_text(SECRET_SETTINGS[name] + "\n")
    monkeypatch.setenv(f"VISAVIS_{name.upper()}_FILE", str(tmp_path / "secret.txt"))

    settings = Settings(data=tmp_path)

    assert shown(settings, name) == SECRET_SETTINGS[name]
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in str(settings)


def test_a_secret_that_is_set_twice_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISAVIS_SIGNING_SECRET", PASSWORD)
    monkeypatch.setenv("VISAVIS_SIGNING_SECRET_FILE", str(tmp_path / "secret.txt"))

    with pytest.raises(SettingsError, match="are both set; unset one of them") as caught:
        Settings()

    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"", "is empty"), (b"\xff\xfe", "not text")]
)
def test_a_secret_file_without_a_secret_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, words: str
) -> None:
    path = tmp_path / "secret.txt"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("VISAVIS_DATABASE_URL_FILE", str(path))

    with pytest.raises(SettingsError, match=f"VISAVIS_DATABASE_URL_FILE: .*{words}"):
        Settings()


def test_the_error_of_an_invalid_setting_does_not_show_secrets(tmp_path: Path) -> None:
    wrong = SECRET_SETTINGS | {"data": tmp_path, "reaper_seconds": 99}

    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(wrong)

    assert "reaper_seconds" in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_the_documentation_lists_every_setting() -> None:
    text = (REPOSITORY / "docs/configuration.md").read_text()

    assert updated(text) == text, "run `make docs`"
    listed = re.findall(r"^\| `VISAVIS_(\w+)` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(name.upper() for name in Settings.model_fields)
