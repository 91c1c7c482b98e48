"""Malicious files as uploads: each is accepted or refused as documented."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.api_server import Served
from tests.malicious_files import ACCEPTED, Attack
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("probe_child")


def test_every_attack_is_answered_as_documented(
    served: Served, malicious_files: dict[str, Attack], clip: bytes
) -> None:
    def send(content: bytes) -> httpx.Response:
        return served.http.post("/generate", files={"audio": ("talk.wav", content)})

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, (content for content, _ in malicious_files.values())))
    wrong = {}
    for (name, (_, expected)), answer in zip(malicious_files.items(), answers, strict=True):
        result = ACCEPTED if answer.status_code == 202 else answer.json()["code"]
        if result not in expected:
            wrong[name] = answer.text
        if result != ACCEPTED:
            problem(answer, 415 if result == "audio_type_unsupported" else 422, result)

    assert wrong == {}
    assert send(clip).status_code == 202


def test_a_file_name_does_not_make_a_playlist(
    served: Served, malicious_files: dict[str, Attack]
) -> None:
    for name in ("list.m3u8", "list.wav", "http://127.0.0.1/list.m3u8", "-i.wav"):
        content, _ = malicious_files["an HLS playlist"]
        answer = served.http.post("/generate", files={"audio": (name, content)})
        problem(answer, 415, "audio_type_unsupported")
