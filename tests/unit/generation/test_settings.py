"""The behaviour's settings: what a file may say, and what is said of a file that makes no sense."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from shop_simulator import Behaviour, Shop, read_behaviour
from shop_simulator.cli import main


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    toml = """
    [buying]
    r = 1
    [prices.elasticity]
    Books = 0.5
    [segments.Corporate]
    discount_share = 0.3
    [ordering]
    discount_percents = [50]
    """
    found = read_behaviour(written(tmp_path, "behaviour.toml", toml))
    default = Behaviour()
    assert found.buying == replace(default.buying, r=1.0)
    assert found.prices.elasticity == {**default.prices.elasticity, "Books": 0.5}
    assert found.segments["Corporate"] == replace(default.segments["Corporate"], discount_share=0.3)
    assert found.ordering.discount_percents == (50,)
    same = replace(
        found,
        buying=default.buying,
        prices=default.prices,
        segments=default.segments,
        ordering=default.ordering,
    )
    assert same == default


def test_all_settings_written_out_are_read_back(tmp_path: Path) -> None:
    changed = replace(Behaviour(), buying=replace(Behaviour().buying, guest_share=0.1))
    assert read_behaviour(written(tmp_path, "b.json", json.dumps(changed.as_dict()))) == changed
    assert read_behaviour(written(tmp_path, "empty.toml", "")) == Behaviour()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[buyings]", "unknown setting 'buyings' in the file; known are buying, spend"),
        ("[buying]\nrr = 1.0", "unknown setting 'rr' in buying; known are r, alpha, a, b"),
        ("[prices.elasticity]\nCars = 1.0", "unknown setting 'Cars' in prices.elasticity; known are Electro"),
        ("[buying]\nr = 'much'", "buying.r must be of type float, not 'much'"),
        ("[calendar]\nhas_seasons = 1", "calendar.has_seasons must be of type bool, not 1"),
        ("buying = 3", "buying must be a table of settings, not 3"),
        ("[ordering]\ndiscount_percents = 5", "ordering.discount_percents must be a list, not 5"),
        ("[buying]\nr = 0.0", "buying: r must be a number greater than 0, not 0.0"),
        ("[buying]\nalpha = nan", "buying: alpha must be a number greater than 0, not nan"),
        ("[buying]\nguest_share = 1.0", "buying: guest_share must be less than 1"),
        ("[affinity]\nprobability = 1.5", "affinity: probability must be a share from 0 to 1, not 1.5"),
        ("[affinity]\npairs = -1", "affinity: pairs must be 0 or greater, not -1"),
        ("[ordering]\ndiscount_percents = []", "ordering: discount_percents must be whole numbers"),
        (
            "[shipping.methods.pickup]\nshare = 0.5",
            "shipping: the shares of the shipping methods must sum to",
        ),
        ("[shipping.country_hours]\nPL = 100", "shipping: a delivery must take no more than 240 hours"),
        ("[buying\n", "Expected ']'"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_place_and_nothing_is_written(
    text: str, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, "behaviour.toml", text)
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["--out", str(out), "--days", "1", "--behaviour", str(path)])
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert message in said and "behaviour.toml:" in said
    assert not out.exists()


def test_the_settings_of_the_file_make_the_shop(tmp_path: Path) -> None:
    path = written(tmp_path, "behaviour.toml", "[buying]\nguest_share = 0.0\n[affinity]\npairs = 0")
    base = ["--end", "2026-01-31", "--days", "3", "--entities", "orders"]
    out = tmp_path / "out"
    assert CliRunner().invoke(main, ["--out", str(out), *base, "--behaviour", str(path)]).exit_code == 0
    shop = Shop(42, date(2026, 1, 29), behaviour=read_behaviour(path))
    text = (out / "orders" / "dt=2026-01-31" / "orders.csv").read_bytes()
    assert text == shop.day(date(2026, 1, 31)).csv("orders")
    assert text != Shop(42, date(2026, 1, 29)).day(date(2026, 1, 31)).csv("orders")
