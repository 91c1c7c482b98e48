"""Every fenced block of the documents runs, or says on the page why tests do not run it."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.audio_clips import write_clip
from tests.docs.blocks import blocks, pages
from tests.docs.runner import PARSED, RUN, Runner, fork_server, shell_environment
from tests.docs.small import CLIP_SECONDS, write_people
from tests.docs.substitutions import SUBSTITUTIONS
from tests.e2e.conftest import service_environment, started
from tests.house.source import ROOT

ELSEWHERE = "Downloads gigabytes from another host"
SAME_PROCESSES = "Tests of the command start the same processes"

# Blocks that tests do not run, by page and start of the first line, with the reason on the page.
NOT_RUN = {
    ("client/typescript/README.md", 'import { createServer } from "node:http"'): (
        "Waits for webhooks"
    ),
    ("docs/api.md", "curl -sN http://127.0.0.1:8000/jobs/<job"): (
        "Needs a job that runs and a display"
    ),
    ("docs/bulk.md", "visavis-server bulk 'calls/*.wav' --out "): SAME_PROCESSES,
    ("docs/bulk.md", "kubectl apply -k k8s/bulk"): "Needs a cluster",
    ("docs/bulk.md", "for index in 0 1; do"): SAME_PROCESSES,
    ("docs/bulk.md", "pip install 'visavis-server[ray]'"): (
        "Needs the extra `[ray]` and seconds of start"
    ),
    ("docs/data.md", "python -m training data download PXB184"): ELSEWHERE,
    ("docs/demo-person.md", "sudo apt-get install flite espeak-ng"): "Needs root and hours",
    ("docs/demo-person.md", "python -m training.demo.body --out peopl"): (
        "Writes into the repository"
    ),
    (
        "docs/training.md",
        "python -m training lips --data DIR --out",
    ): "Needs a complete dataset and minutes to hours",
    ("docs/released-people.md", "visavis-server download-person PXB184 --"): ELSEWHERE,
    ("docs/deployment.md", "docker/make-env"): "Needs a container engine",
    ("docs/deployment.md", "docker compose --profile cpu up -d --bui"): "Needs a container engine",
    ("docs/deployment.md", "docker compose logs --no-log-prefix api-"): "Needs a container engine",
    ("docs/deployment.md", "docker compose cp worker:/var/lib/visavi"): "Needs a container engine",
    ("docs/deployment.md", "docker build -f docker/api.Dockerfile --"): "Needs a cluster",
    ("docs/deployment.md", "kubectl -n visavis delete job visavis-mi"): "Needs a cluster",
    ("docs/operations.md", "visavis-server backup /backups/2026-05-0"): (
        "Needs an empty service to restore into"
    ),
    ("docs/training.md", "python -m training distill --person peop"): (
        "Needs a complete person and hours"
    ),
    ("docs/training.md", "python -m training face --data DIR --out"): "Needs four GPUs",
    ("docs/training.md", 'pip install "visavis-server[s3]"'): "Needs a bucket",
    ("docs/training.md", "kubectl -n visavis create secret generic"): "Needs a cluster",
    ("docs/training.md", "export TORCH_DISABLE_SHARE_RDZV_TCP_STOR"): "Needs several machines",
    ("docs/your-own-person.md", 'pip install "visavis-server[demo-person]'): (
        "Needs root and a package index"
    ),
}
COUNTS = {"json": 1, "python": 15, "sh": 46, "text": 12, "toml": 1, "ts": 4}  # run, parsed or shown

ALL = [block for path in pages() for block in blocks(path)]


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    for program in ("bash", "curl", "make"):
        assert shutil.which(program), f"{program} not found; the documents use it, install it"
    people = tmp_path / "people"
    write_people(people)
    # No process is killed here, and each round of the reaper costs CPU time.
    rare = {"VISAVIS_LEASE_SECONDS": "15", "VISAVIS_REAPER_SECONDS": "3"}
    service = {**service_environment(people, tmp_path / "data"), **rare}
    (tmp_path / "logs").mkdir()
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as short,  # the path of a socket is limited
        started(service, tmp_path / "logs") as stack,
        fork_server(Path(short), service) as programs,
    ):
        address = str(stack.http.base_url).rstrip("/")
        environment = shell_environment(service, programs, tmp_path / "home", address)
        sent = write_clip(tmp_path / "sent.wav", seconds=CLIP_SECONDS).stat().st_size
        values = {"address": address, "bytes": str(sent), "root": str(ROOT)}
        yield Runner(environment, values, people, tmp_path)


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.longest
def test_every_block_runs(runner: Runner) -> None:
    failures = [failure for path in pages() for failure in runner.run(path)]

    assert failures == [], "\n\n".join(failures)
    assert dict(runner.ran) == COUNTS
    assert runner.used == {substitution.name for substitution in SUBSTITUTIONS}


def test_blocks_that_do_not_run_have_a_reason_on_the_page_and_are_counted() -> None:
    not_run = {(b.page, b.first_line[:40]): b.reason for b in ALL if b.reason is not None}

    assert not_run == NOT_RUN
    assert len([b for b in ALL if b.reason is not None]) == len(NOT_RUN)
    assert {b.language for b in ALL} <= {*RUN, *PARSED}
    assert sum(COUNTS.values()) + len(NOT_RUN) == len(ALL)


def test_every_named_make_target_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [
        name
        for path in pages()
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE)
    ]

    assert named
    assert set(named) <= set(targets)


def test_the_page_of_recordings_explains_each_warning_of_the_api() -> None:
    def codes(page: str) -> list[str]:
        section = re.split(r"^#+ Warnings$", (ROOT / "docs" / page).read_text(), flags=re.M)[1]
        table = section.partition("\n#")[0]
        return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)

    assert codes("your-recordings.md") == codes("api.md") != []
