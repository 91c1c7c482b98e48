"""Files that attack: sent as any caller sends them, and refused or taken as documented."""

from tests.api_server import Served
from tests.malicious_files import ACCEPTED, Attack
from tests.problems import problem


def test_every_attack_is_answered_as_documented(
    served: Served, malicious_files: dict[str, Attack], clip: bytes
) -> None:
    wrong = {}
    for name, (content, right) in malicious_files.items():
        answer = served.http.post("/generate", files={"audio": ("talk.wav", content)})
        found = ACCEPTED if answer.status_code == 202 else answer.json()["code"]
        if found not in right:
            wrong[name] = answer.text
        if found != ACCEPTED:
            problem(answer, 415 if found == "audio_type_unsupported" else 422, found)

    assert wrong == {}
    assert served.http.post("/generate", files={"audio": ("talk.wav", clip)}).status_code == 202


def test_a_name_makes_no_playlist_of_a_file(
    served: Served, malicious_files: dict[str, Attack]
) -> None:
    for name in ("list.m3u8", "list.wav", "http://127.0.0.1/list.m3u8", "-i.wav"):
        content, _ = malicious_files["an HLS playlist"]
        answer = served.http.post("/generate", files={"audio": (name, content)})
        problem(answer, 415, "audio_type_unsupported")
