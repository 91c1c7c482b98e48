"""Objects of every overlay: built by kustomize, checked against schemas and a policy."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
import yaml

from jobs.database import stores_on
from jobs.db.engine import connect
from jobs.queue.pauses import PauseScope, PauseTarget
from jobs.settings import Settings
from tests.deploy.dockerfile import REPOSITORY, read_dockerfile
from tests.deploy.tools import run_tool
from tests.jobs.rows import submit

if TYPE_CHECKING:
    from collections.abc import Iterator

K8S = REPOSITORY / "k8s"
# Every folder that can be built alone; a Component is part of one of these.
OVERLAYS = tuple(
    str(path.parent.relative_to(K8S))
    for path in sorted(K8S.rglob("kustomization.yaml"))
    if "kind: Kustomization\n" in path.read_text()
)
GROUPS = "overlays/groups"  # made by a fixture
WORKLOADS = ("Deployment", "StatefulSet", "Job")
SCHEMAS = {path.stem: path for path in (K8S / "schemas").glob("*.json")}
OURS = ("visavis-api", "visavis-people", "visavis-training", "visavis-worker")

Object = dict[str, Any]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The objects of each overlay in one file."""
    copy = tmp_path_factory.mktemp("kubernetes") / "k8s"
    shutil.copytree(K8S, copy)
    subprocess.run([str(copy / "overlays/dev/make-secrets")], check=True, timeout=60)
    # What docs/deployment.md describes, too: an Ingress, and a second group of people.
    groups = copy / "overlays/groups"
    shutil.copytree(copy / "overlays/prod", groups)
    shutil.copytree(copy / "groups/demo", copy / "groups/anna")
    replace(copy / "groups/anna/kustomization.yaml", "demo", "anna")
    own = "  - ../../groups/demo\n  - ../../groups/anna\n"
    replace(groups / "kustomization.yaml", "  - ../../worker\n", own)
    replace(groups / "kustomization.yaml", "components/gateway", "components/ingress")
    files = {}
    for overlay in (*OVERLAYS, GROUPS):
        files[overlay] = copy.parent / f"{Path(overlay).name}.yaml"
        files[overlay].write_text(run_tool("kubectl", "kustomize", copy / overlay))
    return files


@pytest.fixture(scope="module")
def objects(rendered: dict[str, Path]) -> dict[str, list[Object]]:
    return {
        overlay: list(yaml.safe_load_all(path.read_text())) for overlay, path in rendered.items()
    }


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def pods(objects: dict[str, list[Object]]) -> Iterator[tuple[Object, Object]]:
    """Yield every workload of every overlay with the specification of its pods."""
    for listed in objects.values():
        for each in listed:
            if each["kind"] in WORKLOADS:
                yield each, each["spec"]["template"]["spec"]


def named(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (
        each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name
    )
    return found


def test_objects_fit_the_schemas_of_kubernetes(rendered: dict[str, Path]) -> None:
    output = run_tool("kubernetes-validate", "--strict", *rendered.values())

    without = set(re.findall(r"Couldn't find schema for kind (\w+)", output))
    assert without == set(SCHEMAS)  # checked by the next test


def test_custom_resources_fit_their_schemas(
    objects: dict[str, list[Object]], tmp_path: Path
) -> None:
    for kind, schema in SCHEMAS.items():
        found = [each for listed in objects.values() for each in listed if each["kind"] == kind]
        assert found, kind
        files = []
        for number, each in enumerate(found):
            files.append(tmp_path / f"{kind}-{number}.yaml")
            files[-1].write_text(yaml.safe_dump(each))
        run_tool("check-jsonschema", "--schemafile", schema, *files)


def test_schemas_refuse_an_unknown_field(objects: dict[str, list[Object]], tmp_path: Path) -> None:
    scaled = named(objects["overlays/prod"], "ScaledObject", "visavis-worker")
    path = tmp_path / "scaled.yaml"
    path.write_text(yaml.safe_dump({**scaled, "spec": {**scaled["spec"], "minReplicas": 1}}))

    with pytest.raises(AssertionError, match="minReplicas"):
        run_tool("check-jsonschema", "--schemafile", SCHEMAS["ScaledObject"], path)


def test_pods_are_unprivileged(objects: dict[str, list[Object]]) -> None:
    checked = 0
    for workload, pod in pods(objects):
        where = f"{workload['kind']} {workload['metadata']['name']}"
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] > 0, where
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert pod["automountServiceAccountToken"] is False, where
        for forbidden in ("hostNetwork", "hostPID", "hostIPC", "initContainers"):
            assert forbidden not in pod, where
        volumes = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert volumes <= {"emptyDir", "persistentVolumeClaim", "secret"}, where
        assert all(
            "sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume
        )
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, where
            checked += 1
    assert checked > 15


def test_containers_have_limits_probes_and_versions(objects: dict[str, list[Object]]) -> None:
    for workload, pod in pods(objects):
        where = f"{workload['kind']} {workload['metadata']['name']}"
        for container in pod["containers"]:
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][kind]), where
            assert ("livenessProbe" in container) == (workload["kind"] != "Job"), where
            assert ("readinessProbe" in container) == (workload["kind"] != "Job"), where
            assert ("startupProbe" in container) == (workload["kind"] != "Job"), where
            _, _, tag = container["image"].rpartition(":")
            unresolved = container["image"] in OURS  # a group is used by an overlay, with its tag
            assert unresolved or re.match(r"[0-9]", tag), container["image"]


def test_liveness_asks_no_other_service(objects: dict[str, list[Object]]) -> None:
    """The commands are run by test_entry_commands.py, and /healthz by tests of the API."""
    api = named(objects["overlays/prod"], "Deployment", "visavis-api")
    worker = named(objects["overlays/prod"], "Deployment", "visavis-worker")
    (api_container,) = api["spec"]["template"]["spec"]["containers"]
    (worker_container,) = worker["spec"]["template"]["spec"]["containers"]

    for probe in ("startupProbe", "livenessProbe"):
        assert api_container[probe]["httpGet"]["path"] == "/healthz"
        assert worker_container[probe]["exec"]["command"] == ["worker-alive"]
    assert api_container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_volumes_of_the_pods_are_the_writable_paths_of_the_images(
    objects: dict[str, list[Object]],
) -> None:
    for overlay in ("overlays/dev", "overlays/prod", "overlays/prod-dra"):
        for name in ("api", "worker"):
            workload = named(objects[overlay], "Deployment", f"visavis-{name}")
            pod = workload["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            mounts = container["volumeMounts"]
            writable = {mount["mountPath"] for mount in mounts if not mount.get("readOnly")}
            assert writable == set(read_dockerfile(name).writable)
            assert {mount["mountPath"] for mount in mounts if mount.get("readOnly")} == {
                "/people",
                "/run/secrets/visavis",
            }
            assert tuple(container["args"]) == read_dockerfile(name).command


def test_drain_fits_into_the_grace_period(objects: dict[str, list[Object]]) -> None:
    from cli.commands.serve import GRACE_SECONDS
    from worker.process.watchdog import RELEASE_SECONDS, Limits

    api = named(objects["overlays/prod"], "Deployment", "visavis-api")["spec"]["template"]["spec"]
    worker = named(objects["overlays/prod"], "Deployment", "visavis-worker")
    before = api["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert api["terminationGracePeriodSeconds"] > before + GRACE_SECONDS
    grace = worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    (config,) = (each for each in objects["overlays/prod"] if each["kind"] == "ConfigMap")
    drain = float(config["data"]["VISAVIS_DRAIN_SECONDS"])
    assert grace > drain + Limits().grace_seconds + RELEASE_SECONDS


def test_names_that_objects_refer_to_exist(objects: dict[str, list[Object]]) -> None:
    for overlay, suffix in (("overlays/prod", ""), (GROUPS, "-demo"), (GROUPS, "-anna")):
        scaled = named(objects[overlay], "ScaledObject", f"visavis-worker{suffix}")["spec"]
        named(objects[overlay], "Deployment", scaled["scaleTargetRef"]["name"])
        (trigger,) = scaled["triggers"]
        named(objects[overlay], "TriggerAuthentication", trigger["authenticationRef"]["name"])
    for person in ("demo", "anna"):
        budget = named(objects[GROUPS], "PodDisruptionBudget", f"visavis-worker-{person}")
        worker = named(objects[GROUPS], "Deployment", f"visavis-worker-{person}")
        assert budget["spec"]["selector"] == worker["spec"]["selector"]
        assert worker["spec"]["selector"]["matchLabels"]["visavis/people"] == person
        (container,) = worker["spec"]["template"]["spec"]["containers"]
        people = {entry["name"]: entry["value"] for entry in container["env"]}
        assert people["VISAVIS_WORKER_PEOPLE"] == person
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        (config,) = (each for each in objects[GROUPS] if each["kind"] == "ConfigMap")
        assert container["envFrom"][0]["configMapRef"]["name"] == config["metadata"]["name"]


def test_settings_exist(objects: dict[str, list[Object]]) -> None:
    known = {f"VISAVIS_{name.upper()}" for name in Settings.model_fields}
    for overlay in ("overlays/dev", "overlays/prod", GROUPS):
        (config,) = (each for each in objects[overlay] if each["kind"] == "ConfigMap")
        names = {name for name in config["data"] if name.startswith("VISAVIS_")}
        for _, pod in pods({overlay: objects[overlay]}):
            for container in pod["containers"]:
                names |= {entry["name"] for entry in container.get("env", ())
                          if entry["name"].startswith("VISAVIS_")}  # fmt: skip
        assert {name.removesuffix("_FILE") for name in names} <= known
        secrets = {Path(value).name for name, value in config["data"].items()
                   if value.startswith("/run/secrets/")}  # fmt: skip
        assert secrets <= _secret_keys(objects[overlay])


def _secret_keys(listed: list[Object]) -> set[str]:
    for each in listed:
        if each["kind"] == "Secret":
            return set(each["data"])
        if each["kind"] == "ExternalSecret":
            return {entry["secretKey"] for entry in each["spec"]["data"]}
    raise AssertionError("no Secret")


def test_shares_of_a_bulk_run_are_all_made(objects: dict[str, list[Object]]) -> None:
    from cli.commands.bulk import ITEMS_FAILED
    from cli.console import MISUSED

    spec = named(objects["bulk"], "Job", "visavis-bulk")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    count = {entry["name"]: entry["value"] for entry in container["env"]}["JOB_COMPLETION_COUNT"]
    assert int(count) == spec["completions"]
    (codes,) = (rule["onExitCodes"] for rule in spec["podFailurePolicy"]["rules"]
                if "onExitCodes" in rule)  # fmt: skip
    assert codes["values"] == [MISUSED, ITEMS_FAILED]
    (grace,) = (each for each in container["args"] if each.startswith("--grace-seconds="))
    assert (
        float(grace.partition("=")[2]) < spec["template"]["spec"]["terminationGracePeriodSeconds"]
    )


def test_workers_have_a_gpu_one_way_or_the_other(objects: dict[str, list[Object]]) -> None:
    def resources(overlay: str) -> Object:
        worker = named(objects[overlay], "Deployment", "visavis-worker")
        found = worker["spec"]["template"]["spec"]["containers"][0]["resources"]
        assert isinstance(found, dict)
        return found

    assert resources("overlays/prod")["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in resources("overlays/prod-dra")["limits"]
    assert resources("overlays/prod-dra")["claims"] == [{"name": "gpu"}]
    assert "nvidia.com/gpu" not in resources("overlays/dev")["limits"]


def test_nothing_is_admitted_by_default(objects: dict[str, list[Object]]) -> None:
    for overlay in ("overlays/dev", "overlays/prod"):
        spec = named(objects[overlay], "NetworkPolicy", "default-deny")["spec"]
        assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        namespace = named(objects[overlay], "Namespace", "visavis")
        labels = namespace["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_prometheus_reaches_the_metrics_of_every_process(objects: dict[str, list[Object]]) -> None:
    for overlay in ("overlays/prod", GROUPS):
        listed = objects[overlay]
        monitor = named(listed, "ServiceMonitor", "visavis")["spec"]
        policy = named(listed, "NetworkPolicy", "visavis-monitoring")["spec"]
        (config,) = (each for each in listed if each["kind"] == "ConfigMap")
        port = int(config["data"]["VISAVIS_METRICS_PORT"])
        (endpoint,) = monitor["endpoints"]
        assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port}]
        (admitted,) = policy["podSelector"]["matchExpressions"]
        services = [
            each
            for each in listed
            if each["kind"] == "Service"
            and monitor["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
        ]
        jobs = [each["metadata"]["labels"][monitor["jobLabel"]] for each in services]
        assert sorted(jobs) == ["visavis-api", "visavis-worker"]  # as in prometheus.yml
        for service in services:
            (offered,) = service["spec"]["ports"]
            assert offered["name"] == endpoint["port"]
            selected = service["spec"]["selector"].items()
            found = [
                each
                for each in listed
                if each["kind"] == "Deployment"
                and selected <= each["spec"]["template"]["metadata"]["labels"].items()
            ]
            assert found
            for deployment in found:
                labels = deployment["spec"]["template"]["metadata"]["labels"]
                assert labels[admitted["key"]] in admitted["values"]
                (container,) = deployment["spec"]["template"]["spec"]["containers"]
                assert {"name": offered["targetPort"], "containerPort": port} in container["ports"]


def test_the_query_of_the_scaler_counts_running_jobs_and_queued_ones_that_are_not_paused(
    objects: dict[str, list[Object]], sqlite_url: str
) -> None:
    """The statement that KEDA sends, on the tables of this version."""
    database = stores_on(connect(sqlite_url))
    ended, _ = submit(database, person="demo"), submit(database, person="anna")
    database.attempts.claim("worker-1", ["demo"])
    database.attempts.fail(ended.id, 1, "late", "Too late.")
    submit(database, person="demo")
    assert database.attempts.claim("worker-1", ["demo"]) is not None
    assert database.attempts.claim("worker-1", ["demo"]) is None
    submit(database, person="demo")
    submit(database, person="demo", tenant="paused")
    database.pauses.pause(PauseTarget(PauseScope.TENANT, "paused"))
    counted = {}
    for overlay, suffix in (("overlays/prod", ""), ("groups/demo", "-demo")):
        scaled = named(objects[overlay], "ScaledObject", f"visavis-worker{suffix}")["spec"]
        (trigger,) = scaled["triggers"]
        assert trigger["metadata"]["targetQueryValue"] == "1"  # a worker runs one job at a time
        with database.engine.connect() as connection:
            counted[overlay] = connection.scalar(sa.text(trigger["metadata"]["query"]))
    database.close()

    assert counted == {"overlays/prod": 3, "groups/demo": 2}
