"""Rates of each server alone, for docs/scaling.md: `make queue-rates`.

Starts SQLite, PostgreSQL, Redis and an S3 server in turn, measures each with `python -m bench
queue`, and writes `queue-<server>.json`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from cli.local.embedded_redis import EmbeddedRedis
from tests.chaos.cluster import postgresql
from tests.house.source import ROOT
from tests.s3_server import CREDENTIALS, REGION, s3_server

DATABASE = ("claims", "looks", "polls", "submissions", "progress")
Environment = dict[str, str]


@contextmanager
def with_postgresql() -> Iterator[Environment]:
    with postgresql() as url:
        yield {"VISAVIS_DATABASE_URL": url}


@contextmanager
def with_redis() -> Iterator[Environment]:
    with EmbeddedRedis() as redis:
        yield {"VISAVIS_BROKER_URL": redis.url}


@contextmanager
def with_s3() -> Iterator[Environment]:
    with s3_server("bench") as address:
        url = f"s3://bench?endpoint_url={address}&region={REGION}"
        yield {"VISAVIS_STORAGE_URL": url, **CREDENTIALS}


SERVERS: dict[str, tuple[tuple[str, ...], Callable[[], AbstractContextManager[Environment]]]] = {
    "sqlite": ((*DATABASE, "objects"), lambda: nullcontext({})),
    "postgresql": (DATABASE, with_postgresql),
    "redis": (("wake-ups",), with_redis),
    "s3": (("objects",), with_s3),
}


def main() -> None:
    """Measure each server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "scaling")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--processes", nargs="+", default=["1", "2", "4", "8"])
    parser.add_argument("--seconds", default="5")
    options = parser.parse_args()
    for name in options.servers:
        operations, server = SERVERS[name]
        with tempfile.TemporaryDirectory(prefix="visavis-bench-") as folder, server() as more:
            arguments = [
                "--settings", "--operations", *operations, "--processes", *options.processes,
                "--seconds", options.seconds, "--json", str(options.out / f"queue-{name}.json"),
            ]  # fmt: skip
            environment = {"VISAVIS_DATA": folder, "VISAVIS_BROKER_URL": ""} | more
            subprocess.run(
                [sys.executable, "-m", "bench", "queue", *arguments],
                cwd=ROOT,
                env=os.environ | environment,
                check=True,
            )


if __name__ == "__main__":
    main()
