"""Killed at any point, or several at once: the same end state."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.loading.conftest import Shop, day

PROJECT = Path(__file__).resolve().parents[3]

#: A loader in a process of its own, forked once for each number given. With a number above zero the child
#: kills itself, as hard as can be, before its n-th statement. Says of each whether it was killed, and the
#: number of statements of those that were not.
LOADER = textwrap.dedent(
    """
    import os, signal, sys
    import psycopg2.extensions
    from pathlib import Path
    from ecommerce_dw import db
    from ecommerce_dw.loading import load
    from ecommerce_dw.settings import Settings
    from tests.integration.loading.shop import LINES, PRODUCTS

    left = 0

    class Connection(psycopg2.extensions.connection):
        def _count(self):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def cursor(self, *args, **kwargs):
            return super().cursor(*args, cursor_factory=Cursor, **kwargs)

        def commit(self):
            self._count()
            super().commit()

    class Cursor(psycopg2.extensions.cursor):
        def execute(self, *args, **kwargs):
            self.connection._count()
            return super().execute(*args, **kwargs)

        def copy_expert(self, *args, **kwargs):
            self.connection._count()
            return super().copy_expert(*args, **kwargs)

    connect = db.psycopg2.connect
    db.psycopg2.connect = lambda **options: connect(**options | {"connection_factory": Connection})
    settings = Settings(
        _env_file=None, ecommerce_dw_home=Path(sys.argv[1]), warehouse_port=int(sys.argv[2]),
        warehouse_db=sys.argv[3],
    )
    for kill_at in map(int, sys.argv[4:]):
        child = os.fork()
        if not child:
            left = kill_at
            summary = load(settings, contracts={"shop": {"products": PRODUCTS, "lines": LINES}}, workers=1)
            print("loaded", summary.files_loaded, -left, flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            print("killed", flush=True)
        elif status:
            sys.exit(1)
    """
)


def start(shop: Shop, *kill_at: int) -> subprocess.Popen[str]:
    """Start loaders of their own, one after the other."""
    settings = shop.settings
    where = [str(settings.home), str(settings.warehouse_port), settings.warehouse_db]
    return subprocess.Popen(
        [sys.executable, "-c", LOADER, *where, *map(str, kill_at or (0,))],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> list[str]:
    """What the loaders said."""
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return output.splitlines()


def land_all(shop: Shop) -> None:
    """Small files, a file with rejects, a part that settles them, a large file alone."""
    for number in range(1, 6):
        shop.land(day(number), f"A{number},Mug,{number},1,t,GBP,\nA9,Cup,{number}.5,1,t,GBP,\nB1,x,x,,,,\n")
    shop.land(day(2).replace(".csv", ".fix-1.csv"), "B1,Bowl,1,1,t,GBP,\n")
    shop.land(day(6), "".join(f"L{n},Mug no {n},1.5,{n % 9},t,GBP,2026-01-01\n" for n in range(9000)))
    shop.land("2026-01-01.csv", "1,1\n2,two\n", header="InvoiceNo,Quantity")


def change(shop: Shop) -> None:
    """Other bytes under two of the paths."""
    shop.land(day(1), "A1,New mug,1,1,t,GBP,\n")
    shop.land(day(6), "".join(f"L{n},Mug no {n},2.5,{n % 9},t,GBP,2026-01-01\n" for n in range(8000)))


def state(shop: Shop) -> list[Any]:
    """All that later layers see, without stamps and without the numbers a sequence gave."""
    return [
        shop.query(statement)
        for statement in (
            """
            select l.path, t._line_number, t.product_id, t.product_name, t.price, t.quantity
            from raw.shop__products as t join raw.load_ledger as l on l.file_id = t._file_id
            order by 1, 2
            """,
            "select invoice_no, quantity, _line_number from raw.shop__lines order by 1",
            """
            select path, version, is_current, status, rows_read, rows_loaded, rows_rejected, sha256
            from raw.load_ledger order by 1, 2
            """,
            "select path, line_number, reasons, resolved_by from raw.rejected_rows order by 1, 2, 3",
            "select distinct source, entity, keys::text from raw.removed_keys order by 3",
            "select indexname from pg_indexes where schemaname = 'raw' and tablename like 'shop%' order by 1",
        )
    ]


def load_ids_are_sound(shop: Shop) -> bool:
    """Each visible file has one, and every removed key points at one of them."""
    bad = shop.query(
        """
        select 1 from raw.load_ledger where (status = 'loaded') <> (load_id is not null)
        union all
        select 2 from raw.removed_keys
        where load_id not in (select load_id from raw.load_ledger where load_id is not null)
        """
    )
    return not bad


def test_law_7_killed_before_any_statement_a_rerun_ends_in_the_same_state(
    make_shop: Callable[[], Shop],
) -> None:
    expected_shop = make_shop()
    land_all(expected_shop)
    statements = int(finish(start(expected_shop))[0].split()[2])
    change(expected_shop)
    expected_shop.load()
    expected = state(expected_shop)

    shop = make_shop()
    land_all(shop)
    # Each goes on from where the one before was killed: the worst of all orders.
    kills = [*range(1, statements, max(1, statements // 12)), statements - 1, statements]
    assert finish(start(shop, *kills)).count("killed") >= 3
    shop.load()
    change(shop)
    assert finish(start(shop, 9, 14, 19, 24, 28, 32, 36)).count("killed") >= 3
    shop.load()

    assert state(shop) == expected
    assert load_ids_are_sound(shop)


def test_a_load_into_tables_whose_indexes_were_never_made_makes_them(shop: Shop) -> None:
    shop.land(day(1), "A1,Mug,1,1,t,GBP,\n")
    shop.load()
    with shop.owner.cursor() as cursor:
        cursor.execute("drop index raw.shop__products__product_id__key, raw.shop__products__file_id__idx")

    shop.load()

    assert len(shop.indexes("shop__products")) == 2


def test_two_loaders_at_once_never_load_a_file_twice(shop: Shop) -> None:
    for number in range(1, 29):
        rows = "".join(f"A{n},Mug,{number},1,t,GBP,\n" for n in range(2000 if number % 7 == 0 else 30))
        shop.land(day(number), rows)

    processes = [start(shop), start(shop)]
    said = [line for process in processes for line in finish(process)]

    assert sum(int(line.split()[1]) for line in said) == 28
    assert shop.query("select count(*), count(distinct path), max(version) from raw.load_ledger") == [
        (28, 28, 1)
    ]
    assert shop.query("select count(*) from raw.shop__products") == [(4 * 2000 + 24 * 30,)]
    assert load_ids_are_sound(shop)
