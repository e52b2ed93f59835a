"""The simulator and the contracts agree: every row it makes loads."""

from __future__ import annotations

import datetime as dt

import psycopg2.extensions

from ecommerce_dw.loading import load
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
