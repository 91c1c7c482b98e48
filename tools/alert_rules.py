"""PrometheusRule of k8s/ from the rules of Docker Compose: `python tools/alert_rules.py FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "docker/observability/alerts.yml"
HEAD = """\
# Written by `make docs` from docker/observability/alerts.yml. Label it as the `ruleSelector` of
# your Prometheus wants it, in a patch of the overlay.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: visavis
spec:
"""


def rule_object() -> str:
    """Return the object as YAML: the groups of the source, two spaces deeper."""
    lines = SOURCE.read_text(encoding="utf-8").splitlines()
    groups = lines[lines.index("groups:") :]
    return HEAD + "".join(f"  {line}".rstrip() + "\n" for line in groups)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(rule_object(), encoding="utf-8")
