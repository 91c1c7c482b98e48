"""Independent readers of glTF: three.js and the Khronos validator in Node.js."""

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("read_gltf.mjs")
MODULES = ROOT / "tools/node_modules"
NODE = ROOT / ".venv-tools/node/node"


def ask(**request: Any) -> dict[str, Any]:
    """Run one request of read_gltf.mjs."""
    assert (MODULES / "three").is_dir(), f"{MODULES}/three not found; run `make test`"
    assert NODE.exists(), f"{NODE} not found; run `make test`"
    done = subprocess.run(
        [NODE, SCRIPT, MODULES],
        input=json.dumps(request, default=str),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def assert_valid(*paths: Path) -> None:
    """Assert that the Khronos validator finds neither errors nor warnings."""
    for path, found in ask(validate=paths)["issues"].items():
        assert (found["errors"], found["warnings"]) == (0, 0), f"{path}: {found['messages']}"
