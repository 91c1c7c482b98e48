"""The page docs/scaling.md has the figures of its JSON files, every table and every picture."""

from pathlib import Path

import pytest
from PIL import Image

from bench.simulation.document import (
    PICTURES,
    TABLES,
    check_table,
    machine_lines,
    means_over_seeds,
    rates_table,
    with_table,
)
from bench.simulation.pictures import DIGEST, digest_of_costs, digest_of_rates
from bench.simulation.rates import measured_rates

PAGE = Path(__file__).parents[3] / "docs" / "scaling.md"


def test_the_page_has_the_measured_figures() -> None:
    text = PAGE.read_text()
    for name, rows in (
        ("check", check_table(PAGE.with_suffix(""))),
        ("rates", rates_table(PAGE.with_suffix(""))),
        ("machine", machine_lines(PAGE.with_suffix(""))),
    ):
        assert len(rows) > 0
        assert with_table(text, name, rows) == text, name


def test_every_table_has_its_place_on_the_page() -> None:
    text = PAGE.read_text()
    for name in TABLES:
        assert text.partition(f"<!-- begin {name} -->")[2].partition("<!-- end")[0].strip(), name
    with pytest.raises(ValueError, match="no comments"):
        with_table(text, "unknown", [])


def test_means_are_those_of_the_seeds_of_a_load_and_a_number_of_workers() -> None:
    def row(load: float, seed: int, real: float, simulated: float) -> dict[str, object]:
        cell = {"real": real, "simulated": simulated, "error": simulated / real - 1}
        return {"load": load, "workers": 2, "seed": seed, "p50": cell, "p95": cell}

    means = means_over_seeds([row(0.6, 1, 1.0, 2.0), row(0.6, 2, 3.0, 4.0), row(0.8, 1, 1.0, 1.0)])

    assert [(mean["load"], mean["workers"]) for mean in means] == [(0.6, 2), (0.8, 2)]
    assert means[0]["p50"] == {"real": 2.0, "simulated": 3.0, "error": 0.5}


def test_pictures_show_the_figures_of_the_page() -> None:
    digests = {
        "rates": digest_of_rates(measured_rates(PAGE.with_suffix(""))),
        "workers": digest_of_costs(),
    }
    for name, digest in digests.items():
        place = f"{PICTURES}/{name}.png"
        assert f"]({place})" in PAGE.read_text()
        with Image.open(PAGE.parent / place) as picture:
            assert picture.info[DIGEST] == digest, f"{place} is older than its figures"
