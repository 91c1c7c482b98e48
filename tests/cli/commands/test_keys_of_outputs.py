"""Keys of manifests and watermarks: a missing or wrong one ends each command with one sentence."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from jobs.settings import Settings
from tests.audio_clips import write_clip
from tests.cli.conftest import Call
from worker.process.context import open_context
from worker.process.progress import StopRequest
from worker.provenance.keys import self_made_chain

KEY, CERTIFICATES = self_made_chain("Example Ltd")
OTHER_KEY, _ = self_made_chain("Another Ltd")
SECRET = "hush-hush"


@pytest.fixture(params=["certificate", "other key", "no PEM", "own file", "short", "no file"])
def wrong(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, str], str]:
    """Return settings with a wrong key, and the beginning of the message."""
    pem = tmp_path / "certificates.pem"
    pem.write_bytes(CERTIFICATES)
    (tmp_path / "data").mkdir()
    signing = {"VISAVIS_SIGN_CERTIFICATE": str(pem)}
    if request.param == "certificate":
        missing = {"VISAVIS_SIGN_CERTIFICATE": "none.pem", "VISAVIS_SIGN_KEY": KEY.decode()}
        return missing, "VISAVIS_SIGN_CERTIFICATE: no file none.pem; correct the path"
    if request.param == "other key":
        other = signing | {"VISAVIS_SIGN_KEY": OTHER_KEY.decode()}
        return other, "VISAVIS_SIGN_KEY: not the key of the first certificate"
    if request.param == "no PEM":
        return signing | {"VISAVIS_SIGN_KEY": SECRET}, "VISAVIS_SIGN_KEY: not a private key in PEM"
    if request.param == "own file":
        path = tmp_path / "data" / "watermark"
        path.write_text(SECRET)
        return {}, f"{path}: not a key of watermarks (9 bytes)"
    if request.param == "short":
        return {"VISAVIS_WATERMARK_KEY": SECRET}, "VISAVIS_WATERMARK_KEY: 9 characters; use 16"
    missing = {"VISAVIS_WATERMARK_KEY_FILE": "none.txt"}
    return missing, "VISAVIS_WATERMARK_KEY_FILE: none.txt cannot be read (No such file"


def test_commands_end_with_a_sentence_without_the_key(
    call: Call, people: Path, tmp_path: Path, wrong: tuple[dict[str, str], str]
) -> None:
    environment, message = wrong
    write_clip(tmp_path / "talk.wav", seconds=0.2)
    before = set(tmp_path.iterdir())

    made = call("generate", "talk.wav", VISAVIS_PEOPLE=str(people), **environment)
    checked = call("doctor", VISAVIS_PEOPLE=str(people), **environment)

    assert (made.exit_code, len(made.stderr.splitlines())) == (2, 1), made.output
    assert made.stderr.startswith(message)
    assert set(tmp_path.iterdir()) == before
    assert checked.exit_code in (1, 2)
    assert message.split(":")[0] in checked.output.replace("\n", "")
    for text in (made.output, checked.output):
        assert SECRET not in text and "PRIVATE KEY" not in text and "Traceback" not in text


def test_a_worker_with_a_wrong_key_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
    people: Path,
    tmp_path: Path,
    wrong: tuple[dict[str, str], str],
) -> None:
    environment, message = wrong
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ValueError) as caught, ExitStack() as stack:
        settings = Settings(data=tmp_path / "data", people=people, device="cpu")
        open_context(settings, "worker", StopRequest(1.0), stack)

    assert SECRET not in str(caught.value)
    assert message.split(": ")[1] in str(caught.value)
    assert not (tmp_path / "data" / "visavis.db").exists()
