"""Print the dependencies of some extras in pyproject.toml, one on a line.

    python docker/requirements.py api postgres s3

Images install them before the packages are copied, so that a change of the code reuses the layer.
"""

import re
import sys
import tomllib
from pathlib import Path


def requirements(extras: list[str]) -> list[str]:
    """Return the dependencies of the project and of the given extras."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = list(project["dependencies"])
    for extra in extras:
        found += project["optional-dependencies"][extra]
    own = re.compile(rf"{project['name']}\b")
    return [each for each in found if not own.match(each)]


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(sys.argv[1:])) + "\n")
