"""Dockerfiles, scripts and the compose file, checked without a container engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from jobs.settings import Settings
from tests.deploy.dockerfile import REPOSITORY, instructions, read_dockerfile, requirements
from tests.deploy.tools import run_tool

if TYPE_CHECKING:
    from pathlib import Path

DOCKERFILES = sorted((REPOSITORY / "docker").glob("*.Dockerfile"))
BUILT = ("api", "training", "worker")  # `people` is made from `api`
SCRIPTS = (
    *sorted((REPOSITORY / "docker/entry").iterdir()),
    REPOSITORY / "docker/make-env",
    REPOSITORY / "k8s/overlays/dev/make-secrets",
    REPOSITORY / "k8s/schemas/make-schemas",
)
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(:[-?][^}]*)?\}")
DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that docker/make-env needs, and a `docker` that answers with a digest."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "docker").mkdir()
    for name in (".env.example", "docker/make-env", "docker/images.txt"):
        shutil.copy(REPOSITORY / name, folder / name)
    docker = folder / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(
        f'#!/bin/sh\nfor last; do :; done\necho "$last" >> {folder}/asked\necho {DIGEST}\n'
    )
    docker.chmod(0o755)
    make_env(folder)
    return folder


def make_env(folder: Path, *arguments: str) -> str:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(folder / "docker/make-env"), *arguments],
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def read_env(path: Path) -> dict[str, str]:
    pairs = [line.partition("=") for line in path.read_text().splitlines() if "=" in line]
    return {name: value for name, _, value in pairs if not name.startswith("#")}


def required(name: str) -> str | None:
    """Return the kind of a variable that has no default, or None."""
    if name.endswith("_IMAGE"):
        return "image"
    return "secret" if name.endswith(("_PASSWORD", "_KEY", "_SECRET")) else None


def compose() -> dict[str, Any]:
    content = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    assert isinstance(content, dict)
    return content


def test_dockerfiles_have_no_finding() -> None:
    run_tool("hadolint", "--failure-threshold", "style", *DOCKERFILES)


def test_scripts_have_no_finding() -> None:
    run_tool("shellcheck", *SCRIPTS)
    assert all(os.access(script, os.X_OK) for script in SCRIPTS)


def test_yaml_files_have_no_finding() -> None:
    run_tool(
        "yamllint", "--strict", "-c", REPOSITORY / ".yamllint.yml",
        REPOSITORY / "docker-compose.yml", REPOSITORY / "docker", REPOSITORY / "k8s",
    )  # fmt: skip


@pytest.mark.parametrize("name", BUILT)
def test_images_are_pinned_small_and_unprivileged(name: str) -> None:
    text = (REPOSITORY / f"docker/{name}.Dockerfile").read_text()
    found = instructions(text)
    dockerfile = read_dockerfile(name)

    bases = [rest.split()[0] for word, rest in found if word == "FROM"]
    assert bases == ["${PYTHON_IMAGE}"] * 2  # required: there is no default without a digest
    assert "ARG PYTHON_IMAGE\n" in text
    assert "ARG PIP_INDEX_URL\n" in text
    assert dockerfile.user == "65532:65532"
    assert [word for word, _ in found].count("HEALTHCHECK") == 1
    assert any("cyclonedx-py environment" in run for run in dockerfile.runs)
    labels = next(rest for word, rest in found if word == "LABEL")
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
    home = dockerfile.environment["HOME"]
    assert any(home.startswith(path) for path in dockerfile.writable)
    assert "/tmp" in dockerfile.writable


def test_caches_are_below_a_writable_path_unless_the_image_fills_them() -> None:
    for name, filled in (("worker", {"/opt/visavis/kernels"}), ("training", set())):
        dockerfile = read_dockerfile(name)
        caches = {path for key, path in dockerfile.environment.items() if "CACHE" in key}
        assert len(caches) == 4
        assert filled <= caches
        assert all(path.startswith("/var/cache/visavis/") for path in caches - filled)
        assert "/var/cache/visavis" in dockerfile.writable
        for path in filled:
            assert any(f"WARP_CACHE_PATH={path}" in run for run in dockerfile.runs)


def test_the_image_of_the_api_has_no_torch() -> None:
    for name, torch in (("api", False), ("worker", True), ("training", True)):
        names = {
            re.split(r"[^a-z-]", each)[0] for each in requirements(read_dockerfile(name).extras)
        }
        assert ("torch" in names) == torch
        assert "typer" in names and "visavis-server" not in names


def test_the_build_context_contains_what_is_copied_and_no_more() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    admitted = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = {
        source.rstrip("/")
        for path in DOCKERFILES
        for copy in read_dockerfile(path.name.split(".")[0]).copies
        for source in copy.sources
    }
    assert admitted == copied


def test_the_compose_file_fits_its_schema() -> None:
    path = REPOSITORY / "docker-compose.yml"
    run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)


def test_the_compose_file_is_hardened(checkout: Path, tmp_path: Path) -> None:
    values = read_env(checkout / ".env")
    text = (REPOSITORY / "docker-compose.yml").read_text()
    rendered = tmp_path / "docker-compose.yml"
    placed = text.replace("- ./", "- /srv/visavis/")  # not the temporary folder of this test
    # Images with their digests; secrets remain variables, as in the file.
    rendered.write_text(
        VARIABLE.sub(
            lambda match: values[match[1]] if required(match[1]) == "image" else match[0], placed
        )
    )

    report = run_tool("compose-lint", "check", "--format", "json", "--fail-on", "low", "--config",
                      REPOSITORY / "docker/compose-lint.yml", rendered)  # fmt: skip
    assert json.loads(report) is not None


def test_compose_needs_every_secret_and_names_the_command_that_makes_it() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    example = read_env(REPOSITORY / ".env.example")
    used = {match[1]: match[2] or "" for match in VARIABLE.finditer(text)}

    assert set(used) == set(example)
    for name, value in example.items():
        if required(name):
            assert not value
            assert used[name].startswith(":?"), f"{name} has a default or may be empty"
            assert "docker/make-env" in used[name]


def test_no_service_starts_before_what_it_needs() -> None:
    services = compose()["services"]
    once = {name for name, service in services.items() if service["restart"] == "no"}
    assert once == {"migrate", "create-bucket", "api-key"}
    for name in ("api", "worker", "worker-gpu"):
        conditions = {
            needed: entry["condition"] for needed, entry in services[name]["depends_on"].items()
        }
        for needed in ("postgres", "valkey", "s3"):
            assert conditions[needed] == "service_healthy"
        for needed in ("migrate", "create-bucket"):
            assert conditions[needed] == "service_completed_successfully"
    for name, service in services.items():
        if name not in once and name not in ("worker", "worker-gpu", "collector"):
            assert service["healthcheck"]["test"], name


def test_every_published_port_is_on_loopback() -> None:
    ports = [port for each in compose()["services"].values() for port in each.get("ports", ())]
    assert len(ports) >= 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_settings_of_the_compose_file_exist() -> None:
    names = {
        name
        for service in compose()["services"].values()
        for name in service.get("environment", ())
        if name.startswith("VISAVIS_")
    }
    assert names
    assert {name.removeprefix("VISAVIS_").lower() for name in names} <= set(Settings.model_fields)


def test_make_env_fills_in_secrets_and_digests_and_keeps_them(checkout: Path) -> None:
    first = read_env(checkout / ".env")
    secrets = [value for name, value in first.items() if required(name) == "secret"]

    assert (checkout / ".env").stat().st_mode & 0o777 == 0o600
    assert len(set(secrets)) == 7 and all(re.fullmatch("[0-9a-f]{48}", each) for each in secrets)
    assert first["PYTHON_IMAGE"].endswith(f"@{DIGEST}")
    asked = (checkout / "asked").read_text()

    make_env(checkout)
    assert read_env(checkout / ".env") == first
    assert (checkout / "asked").read_text() == asked

    make_env(checkout, "--pins")
    assert (checkout / "asked").read_text() == asked * 2


def test_images_have_versions() -> None:
    lines = (REPOSITORY / "docker/images.txt").read_text().splitlines()
    images = dict(line.split() for line in lines if not line.startswith("#"))
    assert all(re.search(r":v?[0-9][0-9.]*(-[a-z0-9-]+)?$", image) for image in images.values())
    example = read_env(REPOSITORY / ".env.example")
    assert set(images) == {name for name in example if name.endswith("_IMAGE")}


def test_the_steps_to_a_running_compose_file_are_few() -> None:
    section = re.split(r"^## .*$", (REPOSITORY / "docs/deployment.md").read_text(), flags=re.M)[1]
    steps = re.findall(r"^[0-9]+\. ", section, re.MULTILINE)

    assert 1 < len(steps) <= 10
    for command in ("docker/make-env", "docker compose --profile cpu up", "logs"):
        assert command in section
    assert "docs/deployment.md" in (REPOSITORY / "README.md").read_text()
