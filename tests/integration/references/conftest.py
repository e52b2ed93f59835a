"""One built warehouse of three shops that all references read: made once, changed by no test."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ecommerce_dw import pipeline
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.settings import PROJECT_DIR
from ecommerce_dw.transform import LAYERS
from shop_simulator import generate
from tests.conftest import settings_for
from tests.support.reference import BuiltWarehouse

#: A shop of 17 months, so that months, years and long windows all have something in them.
FIRST, LAST = dt.date(2024, 9, 19), dt.date(2026, 1, 31)


@pytest.fixture(scope="session")
def built_shops(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BuiltWarehouse]:
    """The simulated shop with all its entities, six days of the real shop, a plain sales file."""
    folder = tmp_path_factory.mktemp("references")
    postgres.execute(f"create database shops_of_references template {template_database} strategy file_copy")
    settings = settings_for(postgres, "shops_of_references", folder / "home")
    generate(folder / "ecommerce", first=FIRST, last=LAST, scale=0.3)
    _write_sales(folder / "sales" / "sales.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANDING_ECOMMERCE", str(folder / "ecommerce"))
        patch.setenv("LANDING_ONLINE_RETAIL", str(PROJECT_DIR / "tests" / "data" / "online_retail"))
        patch.setenv("LANDING_SALES", str(folder / "sales"))
        pipeline.load_step(run_id="references", business_date=None, settings=settings)
        for layer in LAYERS:
            pipeline.build_step(layer, run_id="references", settings=settings)
    yield BuiltWarehouse(settings)
    postgres.execute("drop database shops_of_references with (force)")


def _write_sales(file: Path) -> None:
    file.parent.mkdir()
    random = np.random.default_rng(3)
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=int(day)) for day in random.integers(0, 700, 1500)]
    customers = np.minimum(random.zipf(1.5, 1500), 300)
    amounts = random.integers(300, 20_000, 1500) / 100
    lines = [
        f"{day},C{customer},{number},{amount:.2f}\n"
        for number, (day, customer, amount) in enumerate(zip(days, customers, amounts, strict=True))
    ]
    file.write_text("Date,Customer ID,Order ID,Sales\n" + "".join(lines), encoding="utf-8")
