"""The simulator and the contracts agree: every row it makes loads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import psycopg2.extensions
import pytest

from ecommerce_dw import db
from ecommerce_dw.loading import batch, load, loader
from ecommerce_dw.settings import Settings
from shop_simulator import ENTITIES, generate

FIRST, LAST = dt.date(2026, 1, 30), dt.date(2026, 2, 1)


def test_every_row_of_every_simulated_entity_loads(
    settings: Settings, owner: psycopg2.extensions.connection
) -> None:
    made = generate(
        settings.landing("ecommerce"), opening=FIRST - dt.timedelta(days=200), first=FIRST, last=LAST
    )
    summary = load(settings=settings)
    assert (summary.files_loaded, summary.files_refused) == (3 * len(ENTITIES), 0)
    with owner.cursor() as cursor:
        cursor.execute("select path, reasons from raw.rejected_rows limit 5")
        assert cursor.fetchall() == []
        for entity, count in made.entities.items():
            cursor.execute(f"select count(*) from raw.ecommerce__{entity}")
            assert cursor.fetchone() == (count.rows,)
            assert count.rows > 0, entity


def test_a_first_load_file_by_file_finds_what_one_in_batches_does(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a table has its indexes a file's rows are looked for behind those of the files before it."""
    opening = FIRST - dt.timedelta(days=100)

    def load_shop() -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        settings = make_settings()
        generate(
            settings.landing("ecommerce"),
            opening=opening,
            first=opening,
            last=opening + dt.timedelta(days=11),
            scale=0.3,
            seed=3,
            defects=0.2,
        )
        load(settings=settings)
        with db.transaction("loader", settings=settings) as cursor:
            cursor.execute(
                "select path, line_number, reasons from raw.rejected_rows order by path, line_number"
            )
            rejects = cursor.fetchall()
            cursor.execute(
                "select l.path, array_agg(i._line_number order by i._line_number) "
                "from raw.ecommerce__order_items as i join raw.load_ledger as l on l.file_id = i._file_id "
                "group by 1 order by 1"
            )
            return rejects, cursor.fetchall()

    in_batches = load_shop()
    assert len(in_batches[0]) > 100
    monkeypatch.setattr(batch, "_RECENT_BLOCKS", 0)
    monkeypatch.setattr(loader, "_BATCH_FILES", 1)
    assert load_shop() == in_batches
