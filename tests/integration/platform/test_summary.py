"""The numbers that `./deploy.sh dev` ends with."""

from __future__ import annotations

import psycopg2.extensions

from ecommerce_dw.platform.summary import read_summary
from ecommerce_dw.settings import Settings
from tests.support.raw_rows import RawRows, order


def test_rejected_are_the_open_rows_of_loaded_files(
    settings: Settings, owner: psycopg2.extensions.connection
) -> None:
    raw = RawRows(owner, settings)
    raw.create_tables("ecommerce")
    at = "2026-03-01 12:00:00"
    file_id = raw.load(
        "ecommerce", "orders", "2026-03-01", [order("O1", at)], rejected=[(3, {"order_id": "O2"})]
    )
    # a correction that was refused leaves the loaded version in effect, and its own bad rows took nothing
    refused = raw.refuse("ecommerce", "orders", "2026-03-01")
    with owner.cursor() as cursor:
        cursor.execute(
            "insert into raw.rejected_rows "
            "(file_id, source, entity, path, line_number, raw_line, raw_bytes, reasons) "
            "select %s, 'ecommerce', 'orders', 'p', n, 'x', 'x', '{bad}' from generate_series(2, 40) as n",
            (refused,),
        )

    summary = read_summary(settings, None)
    assert (summary.files, summary.rows_rejected, summary.refused) == ((1, 0), 1, 1)

    with owner.cursor() as cursor:
        cursor.execute("update raw.rejected_rows set resolved_by = 'fix' where file_id = %s", (file_id,))
    assert read_summary(settings, None).rows_rejected == 0
