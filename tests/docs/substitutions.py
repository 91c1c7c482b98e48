"""Changes of the documents' blocks before tests run them: each has a name and one place here."""

import re
from dataclasses import dataclass
from fnmatch import fnmatch

ONE_STEP = "--steps 1 --config {recipes} --device cpu --no-board"


@dataclass(frozen=True)
class Substitution:
    """A pattern in the blocks of some pages, and its replacement.

    `{address}`, `{bytes}` and `{root}` of a replacement are the server's address, the size of a
    recording and the repository.
    """

    name: str
    pattern: str
    replacement: str
    pages: str = "*"

    def __call__(self, page: str, text: str, values: dict[str, str]) -> str:
        if not fnmatch(page, self.pages):
            return text
        replacement = self.replacement
        for name, value in values.items():
            replacement = replacement.replace(f"{{{name}}}", value)
        return re.sub(self.pattern, replacement, text, flags=re.MULTILINE)


SUBSTITUTIONS = (
    Substitution("address of the server", r"http://(127\.0\.0\.1|localhost):8000", "{address}"),
    Substitution("address of a service with keys", r"https://video\.example", "{address}"),
    Substitution("make prints its commands", r"^make ", "make --dry-run --directory {root} "),
    Substitution(
        "seconds of synthetic recordings", r"(make-demo \S+) --minutes \d+", r"\1 --minutes 0.2"
    ),
    Substitution(
        "one step of the released recipe with tiny networks",
        r"--config released$",
        ONE_STEP.format(recipes="released-recipes"),
        "docs/your-own-person.md",
    ),
    Substitution(
        "smaller pictures of the command", r"--size 256", "--size 64", "docs/client-command.md"
    ),
    Substitution(
        "one step of tiny networks",
        r"(?<=--out people/ada)( --minutes \d+)?",
        f" {ONE_STEP.format(recipes='recipes')}",
        "docs/*.md",
    ),
    Substitution("folder of recordings", r"\b(DIR|HELD)\b", "recordings", "docs/*.md"),
    Substitution("smaller pictures of a request", r"size=256", "size=64", "README.md"),
    Substitution("smaller pictures", r'"size": "1024"', '"size": "64"'),
    Substitution("tiny pictures on a CPU", r"(generate .*--person ada)", r"\1 --size 64x64"),
    Substitution("fewer steps", r"--steps ddim500", "--steps ddim2", "docs/evaluation.md"),
    Substitution(
        "fewer samples",
        r"--num-samples \d+",
        "--num-samples 2 --max-seq-length 60 --device cpu",
        "docs/evaluation.md",
    ),
    Substitution(
        "shorter pieces of two scenes",
        r"--max-seq-length 600",
        "--max-seq-length 60 --scenes scene02",
    ),
    Substitution(
        "cuts of two short scenes",
        r"(?<=evaluate --person people/PXB184 --data dataset/PXB184)",
        " --num-samples 2 --max-seq-length 60 --device cpu",
        "docs/evaluation.md",
    ),
    Substitution("accepted licence", r"(--from ~/Downloads)", r"\1 --accept-licence"),
    Substitution("half a second of frames", r"--frames 1800", "--frames 15", "docs/data.md"),
    Substitution("bytes of the part", r"412000044", "{bytes}"),
    Substitution("any free port", r"8080\b", "0", "docs/recipes.md"),
    Substitution(
        "three events",
        r"^server\.serve_forever\(\)",
        "import tests.docs.events; tests.docs.events.send_to(server, SECRET)",
        "docs/recipes.md",
    ),
)
