"""Dashboard, alert rules and runbooks name what exists: metrics, labels, values, commands."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import promql_parser as promql
import pytest
import typer.main
import yaml

from cli.main import app
from jobs.model import State
from jobs.telemetry.metrics import METRICS, Kind, Metric
from tests.deploy.dockerfile import REPOSITORY, read_dockerfile
from tests.deploy.test_images import compose
from tools.alert_rules import rule_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OBSERVABILITY = REPOSITORY / "docker/observability"
DASHBOARD = OBSERVABILITY / "grafana/dashboards/visavis.json"
RUNBOOKS = sorted((REPOSITORY / "docs/runbooks").glob("*.md"))
GRAFANA = {"$__rate_interval": "5m", "$person": ".*"}
OF_PROMETHEUS = {"up": {"job", "instance"}}
TARGET = {"job", "instance"}  # labels of every series
OF_COUNTERS = {"rate", "increase"}
CALL = re.compile(r"visavis-server ([a-z][^`;|]*)")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    listed = json.loads(DASHBOARD.read_text())["panels"]
    assert isinstance(listed, list)
    return listed


def of_dashboard() -> Iterator[str]:
    for panel in panels():
        for target in panel.get("targets", ()):
            query = target["expr"]
            for name, value in GRAFANA.items():
                query = query.replace(name, value)
            yield query


QUERIES = [*(rule["expr"] for rule in alerts()), *of_dashboard()]


def metric_of(series: str) -> Metric | None:
    (found,) = [metric for metric in METRICS if series in metric.series] or [None]
    return found


def nodes(query: str) -> Iterator[Any]:
    """Yield the parts of a query with the function that each selector is an argument of."""
    waiting: list[tuple[Any, str]] = [(promql.parse(query), "")]
    while waiting:
        node, function = waiting.pop()
        yield node, function
        if isinstance(node, promql.Call):
            waiting += [(each, node.func.name) for each in node.args]
        elif isinstance(node, promql.BinaryExpr):
            waiting += [(node.lhs, ""), (node.rhs, "")]
        elif isinstance(node, promql.AggregateExpr):
            waiting += [(node.expr, "")]
        elif isinstance(node, promql.MatrixSelector):
            waiting += [(node.vector_selector, function)]
        elif isinstance(node, promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr):
            waiting += [(node.expr, function)]


def selectors(query: str) -> list[tuple[Any, str]]:
    return [(node, call) for node, call in nodes(query) if isinstance(node, promql.VectorSelector)]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_metrics_labels_and_values_of_the_code(query: str) -> None:
    found = selectors(query)
    assert found or query.startswith("vector")
    labels: set[str] = set()
    for selector, function in found:
        own = OF_PROMETHEUS.get(selector.name)
        if own is None:
            metric = metric_of(selector.name)
            assert metric is not None, f"{selector.name} is not exported"
            counts = metric.kind is not Kind.GAUGE
            assert (function in OF_COUNTERS) == counts, (
                f"{selector.name} in {function or 'no call'}"
            )
            own = {*metric.labels, *TARGET}
            own |= {"le"} if selector.name.endswith("_bucket") else set()
            for matcher in selector.matchers.matchers:
                check_values(metric, matcher.name, matcher.value)
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= own, f"{selector.name} has no label {asked - own}"
        labels |= own
    for node, _ in nodes(query):
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= labels


def check_values(metric: Metric, label: str, pattern: str) -> None:
    """Check the values that a query selects, where the code has a list of them."""
    values = {value for value in pattern.split("|") if re.fullmatch(r"[a-z_]+", value)}
    if label == "state":
        assert values <= set(State)
    elif label == "code":
        assert values <= error_codes()
    elif label in ("outcome", "reason"):
        assert values <= set(re.findall(r"[a-z_]+", metric.help)), f"{label} of {metric.name}"


@cache
def error_codes() -> frozenset[str]:
    text = (REPOSITORY / "docs/api.md").read_text()
    first_cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return frozenset(code for cell in first_cells for code in re.findall(r"`([a-z_]+)`", cell))


def test_every_selected_job_is_scraped() -> None:
    scraped = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())["scrape_configs"]
    names = {job["job_name"] for job in scraped}
    asked = {matcher.value for query in QUERIES for selector, _ in selectors(query)
             for matcher in selector.matchers.matchers if matcher.name == "job"}  # fmt: skip
    assert asked == {"visavis-api", "visavis-worker", "visavis-.+"}
    assert {"visavis-api", "visavis-worker"} <= names


def test_prometheus_of_compose_reaches_every_process_and_reads_the_rules() -> None:
    services = compose()["services"]
    config = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())
    for job in config["scrape_configs"][:2]:
        (discovery,) = job["dns_sd_configs"]
        for name in discovery["names"]:
            assert int(services[name]["environment"]["VISAVIS_METRICS_PORT"]) == discovery["port"]
            image = read_dockerfile(name.removesuffix("-gpu"))
            assert image.environment["VISAVIS_METRICS_HOST"] == "0.0.0.0"
            assert set(services[name]["networks"]) & set(services["prometheus"]["networks"])
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in
               services["prometheus"]["volumes"]}  # fmt: skip
    (rules,) = config["rule_files"]
    assert (REPOSITORY / mounted[rules]).resolve() == OBSERVABILITY / "alerts.yml"


def test_traces_of_compose_go_to_the_collector() -> None:
    services = compose()["services"]
    collector = yaml.safe_load((OBSERVABILITY / "collector.yml").read_text())
    http = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    for name in ("api", "worker", "worker-gpu"):
        endpoint = services[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
        assert endpoint == f"http://collector:{http.rpartition(':')[2]}"
        assert set(services[name]["networks"]) & set(services["collector"]["networks"])


def test_the_rules_of_kubernetes_are_those_of_compose() -> None:
    text = (REPOSITORY / "k8s/components/monitoring/alerts.yaml").read_text()

    assert text == rule_object(), "run `make docs`"
    source = yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())
    assert yaml.safe_load(text)["spec"] == source


def test_each_alert_has_cases_for_promtool() -> None:
    cases = yaml.safe_load((OBSERVABILITY / "alerts_test.yml").read_text())["tests"]
    checked = [check for case in cases for check in case["alert_rule_test"]]

    assert {check["alertname"] for check in checked if check.get("exp_alerts")} == {
        rule["alert"] for rule in alerts()
    }


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    pages = {str(path.relative_to(REPOSITORY)): path.read_text() for path in RUNBOOKS}

    assert {rule["annotations"]["runbook"] for rule in alerts()} == set(pages)
    for rule in alerts():
        page = pages[rule["annotations"]["runbook"]]
        assert page.startswith(f"# {rule['alert']}\n")
        assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["How to look", "What to do"]
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
    index = (REPOSITORY / "docs/monitoring.md").read_text()
    assert all(f"({path.relative_to(path.parents[1])})" in index for path in RUNBOOKS)


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_commands_and_metrics_of_a_runbook_exist(page: Path) -> None:
    text = " ".join(page.read_text().split())
    for command in CALL.findall(text):
        check_command(command.split())
    for name in re.findall(r"\bvisavis_[a-z_]+\b", text):
        assert metric_of(name) is not None, name
    variables = set(re.findall(r"\bVISAVIS_[A-Z_]+\b", text))
    known = (REPOSITORY / "docs/configuration.md").read_text()
    assert all(f"`{variable}`" in known for variable in variables)
    for service in re.findall(r"docker compose (?:ps|logs --tail 50|restart|exec) ([a-z-]+)", text):
        assert service in compose()["services"]
    for path in re.findall(r"`(k8s/[a-z/.-]+)`", text):
        assert (REPOSITORY / path).exists(), path


def check_command(words: list[str]) -> None:
    """Check a command line of `visavis-server` against its commands and options."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name = words.pop(0)
        assert name in command.commands, name
        command = command.commands[name]
    options = {option for each in command.params for option in each.opts}
    assert {word for word in words if word.startswith("--")} <= options, words


def test_the_dashboard_is_complete() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids) > 30
    shown = {selector.name for query in of_dashboard() for selector, _ in selectors(query)}
    named = [metric for metric in METRICS if metric.name.startswith("visavis_")]
    hidden = {metric.name for metric in named if not shown & set(metric.series)}
    assert hidden == set()
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"])
            metric = metric_of(found[1]) if found else None
            assert found and metric is not None and found[2] in metric.labels
