"""The command itself: help, version, options, settings, missing extras."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from cli.console import needing
from jobs.webhooks.signing import webhook_secret
from tests.cli.conftest import Call

ROOT = Path(__file__).parents[2]


def test_version_is_printed(call: Call) -> None:
    assert call("--version").stdout == f"visavis-server {version('visavis-server')}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["generate", "--help"]])
def test_help_works_without_torch_and_web_framework(arguments: list[str]) -> None:
    blocked = ("torch", "fastapi", "uvicorn", "warp", "numpy", "training", "api")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); from cli.main import app\n"
        f"app({arguments!r})"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_every_command_is_in_the_help(call: Call) -> None:
    text = call("--help").stdout

    commands = (
        "up",
        "api",
        "worker",
        "generate",
        "webhook-secret",
        "migrate",
        "maintain",
        "openapi",
        "doctor",
    )
    assert all(name in text for name in commands)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--takes", "11", "--takes: should be less than or equal to 10, not '11'"),
        ("--size", "77", "--size: size '77' needs even numbers of pixels from 64 to 2048"),
        ("--guidance-face", "99", "--guidance-face: should be less than or equal to 10"),
        ("--diversity", "0", "--diversity: should be greater than or equal to 0.01"),
        ("--person", "../ada", "--person: String should match pattern"),
    ],
)
def test_an_invalid_option_is_named_in_the_error(
    call: Call, option: str, value: str, message: str
) -> None:
    done = call("generate", "talk.wav", option, value)

    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["api", "worker", "doctor", "up"])
def test_an_invalid_setting_is_named_with_its_variable(call: Call, command: str) -> None:
    done = call(command, VISAVIS_PORT="many", VISAVIS_LOG_LEVEL="loud")

    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2, lines
    assert lines[0].startswith("VISAVIS_PORT: should be a valid integer")
    assert lines[1].startswith("VISAVIS_LOG_LEVEL: should be 'debug', 'info'")


def test_a_misspelt_setting_causes_a_warning_with_the_name_that_is_close(call: Call) -> None:
    service_links = {
        "VISAVIS_API_SERVICE_HOST": "10.0.0.7",
        "VISAVIS_API_PORT": "tcp://10.0.0.7:8000",
        "VISAVIS_API_PORT_8000_TCP_ADDR": "10.0.0.7",
    }

    done = call("webhook-secret", VISAVIS_PROT="9000", VISAVIS_ZZZZ="1", **service_links)

    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        "warning: VISAVIS_PROT: unknown setting, ignored; did you mean VISAVIS_PORT?",
        "warning: VISAVIS_ZZZZ: unknown setting, ignored; see docs/operations.md",
    ]


@pytest.mark.parametrize("arguments", [["up"], ["doctor"], ["keys", "rotate"], ["tenants"]])
def test_flags_have_no_type_in_the_help(call: Call, arguments: list[str]) -> None:
    assert "<bool>" not in call("--help").stdout
    assert "<bool>" not in call(*arguments, "--help").stdout


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("generate", "Missing argument 'clip'; `visavis-server generate --help` shows"),
        ("generate a.wav b.wav", "Got unexpected extra argument(s) (b.wav); `visavis-server gen"),
        (
            "generate a.wav --bogus",
            "No such option: --bogus (Possible options: --out,",
        ),
        ("generate a.wav --takes many", "Invalid value for '--takes': Input should be a valid in"),
        ("up --submit", "Option '--submit' requires an argument; `visavis-server"),
        ("bogus", "No such command 'bogus'; `visavis-server --help` shows what is possible"),
        ("--bogus", "No such option: --bogus; `visavis-server --help` shows what is possible"),
        ("keys bogus", "No such command 'bogus'; `visavis-server keys --help` shows"),
        ("keys create", "Missing option '--tenant'; `visavis-server keys create --help`"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(call: Call, line: str, sentence: str) -> None:
    done = call(*line.split())

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("line", ["", "keys"])
def test_a_command_line_without_a_command_shows_the_help(call: Call, line: str) -> None:
    done = call(*line.split())

    assert done.exit_code == 2
    assert "Usage: visavis-server" in done.stdout


def test_a_secret_that_is_set_twice_is_rejected_and_not_printed(call: Call) -> None:
    done = call(
        "api", VISAVIS_DATABASE_URL="postgresql://me:hush@db/x", VISAVIS_DATABASE_URL_FILE="f"
    )

    assert done.exit_code == 2
    assert done.stderr.startswith("VISAVIS_DATABASE_URL and VISAVIS_DATABASE_URL_FILE are both set")
    assert "hush" not in done.output


def test_a_worker_without_its_device_prints_a_fix(call: Call) -> None:
    done = call("worker", VISAVIS_BROKER_URL="redis://127.0.0.1:1/0", VISAVIS_DEVICE="cuda:77")

    assert done.exit_code == 2
    assert "VISAVIS_DEVICE: cuda:77" in done.stderr


def test_a_missing_extra_is_reported_with_its_install_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as left, needing("worker"):
        raise ModuleNotFoundError("No module named 'torch'", name="torch.nn")

    assert left.value.exit_code == 2
    assert "pip install 'visavis-server[worker]'" in capsys.readouterr().err


def test_a_missing_module_of_the_project_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError), needing("worker"):
        raise ModuleNotFoundError("No module named 'worker.typo'", name="worker.typo")


def test_the_webhook_secret_is_printed_and_both_during_a_change(call: Call) -> None:
    now = {"VISAVIS_SIGNING_SECRET": "new"}
    both = now | {"VISAVIS_PREVIOUS_SIGNING_SECRET": "old"}

    (secret,) = call("webhook-secret", **now).stdout.split()
    (other,) = call("webhook-secret", "--tenant", "ada", **now).stdout.split()

    assert secret == webhook_secret(b"new")
    assert other == webhook_secret(b"new", "ada") != secret
    assert call("webhook-secret", **both).stdout.split() == [secret, webhook_secret(b"old")]


def test_the_traceback_of_a_fault_contains_no_password(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault() -> None:
        raise RuntimeError("no answer from redis://:hush/hush@broker.example:6379/0")

    monkeypatch.setattr("cli.commands.operate.doctor.run_doctor", fault)

    done = call("doctor")

    assert done.exit_code == 1
    assert "RuntimeError: no answer from redis://:***@broker.example" in done.stderr
    assert "Traceback" in done.stderr
    assert "hush" not in done.output + done.stderr
