"""Drills without a backup: what raw has, and what the landing zone and the journal have, is enough."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecommerce_dw import db
from ecommerce_dw.fingerprint import TableFingerprint, fingerprint
from ecommerce_dw.loading.decisions import discard, withdraw
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.settings import Settings
from shop_simulator import generate
from tests.conftest import settings_for
from tests.support.loaded import run_pipeline

pytestmark = pytest.mark.slow

FIRST, LAST = dt.date(2026, 1, 30), dt.date(2026, 2, 2)
REFUSED, WITHDRAWN = "payments/dt=2026-01-31/payments.csv", "returns/dt=2026-02-01/returns.csv"
NAME = "disaster_dw"


def make_empty(server: EmbeddedPostgres, template: str) -> None:
    server.execute(f"drop database if exists {NAME} with (force)")
    server.execute(f"create database {NAME} template {template} strategy file_copy")


@pytest.fixture(scope="module")
def settings(
    postgres: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A warehouse in which people have discarded one file and withdrawn another."""
    make_empty(postgres, template_database)
    settings = settings_for(postgres, NAME, tmp_path_factory.mktemp("home"))
    landing = settings.landing("ecommerce")
    generate(landing, first=FIRST, last=LAST, scale=1.0)
    refused = landing / REFUSED
    refused.write_text("not,the,header\n" + refused.read_text().split("\n", 1)[1])
    run_pipeline(settings, "first")
    discard(settings, REFUSED, reason="the export was broken")
    withdraw(settings, WITHDRAWN, reason="counted twice")
    run_pipeline(settings, "second")
    yield settings
    postgres.execute(f"drop database {NAME} with (force)")


@pytest.fixture(scope="module")
def before(settings: Settings) -> list[TableFingerprint]:
    """The state that has to come back."""
    prints = fingerprint(settings)
    rows = {f"{each.schema}.{each.table}": each.rows for each in prints}
    assert rows["warehouse.fact_orders"] > 10 and rows["marts.customer_summary"] > 5
    return prints


def command(settings: Settings, *arguments: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ecommerce-dw")), *arguments],
        env=os.environ | settings.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_warehouse_and_marts_come_back_from_raw(settings: Settings, before: list[TableFingerprint]) -> None:
    schemas = ("warehouse", "warehouse_parts", "marts_build", "marts")
    with contextlib.closing(db.connect(settings=settings)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for schema in schemas:
            cursor.execute(f"drop schema {schema} cascade")
    command(settings, "migrate")
    assert not fingerprint(settings)
    command(settings, "build", "--full-refresh")
    command(settings, "publish", "--full")
    assert fingerprint(settings) == before


def test_everything_comes_back_from_the_landing_zone_with_the_decisions(
    settings: Settings, before: list[TableFingerprint], postgres: EmbeddedPostgres, template_database: str
) -> None:
    make_empty(postgres, template_database)
    run_pipeline(settings, "rebuilt")
    with db.transaction(settings=settings) as cursor:
        cursor.execute(
            "select path, status from raw.load_ledger where is_current and status <> 'loaded' order by path"
        )
        assert cursor.fetchall() == [(REFUSED, "discarded"), (WITHDRAWN, "withdrawn")]
    assert fingerprint(settings) == before
