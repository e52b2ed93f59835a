"""Two runs at once: each transforms its own window, and publishes nothing that was not validated for it."""

from __future__ import annotations

import psycopg2
import psycopg2.extensions
import pytest

from ecommerce_dw import pipeline
from ecommerce_dw.db import connect
from ecommerce_dw.runs import freeze, open_run
from ecommerce_dw.settings import Settings
from ecommerce_dw.transform import _environment

NIGHTLY = "scheduled__2026-01-31T02:00:00+00:00"
BY_HAND = "by hand \\ 2"


def _load(owner: psycopg2.extensions.connection, load_id: int) -> None:
    with owner.cursor() as cursor:
        cursor.execute(
            "insert into raw.load_ledger (source, entity, path, version, contract_hash, sha256, bytes, "
            "status, load_id) values ('ecommerce', 'orders', %s, 1, '', '', 0, 'loaded', %s)",
            (f"file-{load_id}", load_id),
        )


@pytest.mark.parametrize("run_id", [NIGHTLY, BY_HAND])
def test_models_of_a_run_read_its_own_window_whoever_froze_a_later_one(
    settings: Settings, owner: psycopg2.extensions.connection, run_id: str
) -> None:
    connection = connect("transformer", settings=settings)
    _load(owner, 1)
    open_run(connection, run_id, business_date=None)
    freeze(connection, run_id)
    _load(owner, 2)
    open_run(connection, "somebody else's", business_date=None)
    freeze(connection, "somebody else's")
    connection.close()

    windows = []
    for own in (run_id, None):
        with _environment(settings, own):
            session = connect("transformer", settings=settings)
        with session, session.cursor() as cursor:
            cursor.execute("select load_id_to from ops.current_run")
            windows.append(cursor.fetchone())
        session.close()
    assert windows == [(1,), (2,)]


def test_what_was_built_after_the_validation_is_not_published(
    settings: Settings, owner: psycopg2.extensions.connection
) -> None:
    connection = connect("transformer", settings=settings)
    open_run(connection, NIGHTLY, business_date=None)
    freeze(connection, NIGHTLY)
    connection.close()
    with owner.cursor() as cursor:
        cursor.execute("insert into ops.touched (model, load_id, key) values ('customer_summary', 1, 'C1')")
        cursor.execute("update ops.runs set validated_seq = (select max(touched_seq) from ops.touched)")
        cursor.execute("insert into ops.touched (model, load_id, key) values ('customer_summary', 2, 'C2')")
    with pytest.raises(pipeline.CheckFailedError, match="Nothing was published"):
        pipeline.publish_step(run_id=NIGHTLY, settings=settings)
