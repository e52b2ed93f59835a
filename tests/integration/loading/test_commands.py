"""The commands, with the project's own contracts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest
from click.testing import CliRunner

from ecommerce_dw import db
from ecommerce_dw.cli import main
from ecommerce_dw.loading import load
from ecommerce_dw.settings import PROJECT_DIR, Settings

HEADER = "order_item_id,order_id,product_id,quantity,unit_price,line_total,discount_amount,created_at\n"
SHARED = Path(os.environ.get("ECOMMERCE_DW_SHARED", PROJECT_DIR.parent / "shared"))


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any]]:
    """Runs a command and gives its exit code and what it printed, from JSON where it is."""
    for command in ("load", "accept", "discard", "withdraw", "rejects"):
        monkeypatch.setattr(f"ecommerce_dw.commands.{command}.get_settings", lambda: settings)

    def run_command(*arguments: str) -> tuple[int, Any]:
        result = CliRunner().invoke(main, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.exit_code, json.loads(result.stdout) if "--json" in arguments else result.output

    return run_command


def land(settings: Settings, day: str, rows: str) -> str:
    """Put an order items file into the landing zone; its path."""
    path = f"order_items/dt={day}/order_items.csv"
    file = settings.landing("ecommerce") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(HEADER + rows)
    return path


def test_load_accept_discard_and_withdraw(settings: Settings, run: Callable[..., tuple[int, Any]]) -> None:
    bad = "".join(f"OI-{n},O-1,P-1,many,1.00,1.00,0.00,2026-01-01 00:00:00\n" for n in range(2000))
    good = "OI-9999,O-1,P-1,1,1.00,1.00,0.00,2026-01-01 00:00:00\n"
    first = land(settings, "2026-01-01", good)
    second = land(settings, "2026-01-02", bad + good)
    third = land(settings, "2026-01-03", bad + good)

    code, summary = run("load", "--source", "ecommerce", "--json")
    assert code == 1
    assert (summary["files_loaded"], summary["files_refused"]) == (1, 2)
    code, text = run("load", "--source", "ecommerce")
    assert (code, "3 unchanged" in text) == (0, True)
    assert run("load", "--source", "nobody")[0] == 2

    assert run("accept", second, "--reason", "known", "--json")[1]["rows_loaded"] == 1
    assert run("discard", third, "--json")[1]["status"] == "discarded"
    assert run("withdraw", first, "--json")[1]["rows_removed"] == 1
    assert run("withdraw", third)[0] == 1
    assert run("accept", "--expectation", "volume", "--json")[1]["expectation"] == "volume"
    assert run("accept")[0] == 2
    assert run("rejects", "list", "--path", second, "--json")[1]["total"] == 2000


def test_what_stops_a_load_is_said_and_is_no_traceback(
    settings: Settings, run: Callable[..., tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    land(settings, "2026-01-01", "OI-1,O-1,P-1,1,1.00,1.00,0.00,2026-01-01 00:00:00\n")
    hasty = settings.model_copy(update={"lock_wait_seconds": 0.3})
    monkeypatch.setattr("ecommerce_dw.commands.load.get_settings", lambda: hasty)
    with db.transaction(settings=settings) as cursor:
        cursor.execute("lock table raw.load_ledger in exclusive mode")
        code, said = run("load")
    assert code == 1
    assert "The load waited longer than 0.3 s" in said and "raw.load_ledger" in said


def test_law_8_the_real_shops_files_reconcile_to_the_last_decimal(
    settings: Settings, owner: psycopg2.extensions.connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SHARED / "data" / "online_retail"
    if not folder.is_dir():
        pytest.skip("the real shop's files are not here")
    monkeypatch.setenv("LANDING_ONLINE_RETAIL", str(folder))

    summary = load(settings, source="online_retail")

    assert (summary.files_loaded, summary.rows_loaded, summary.rows_rejected) == (305, 541_909, 0)
    with owner.cursor() as cursor:
        cursor.execute("select sum(quantity * unit_price) from raw.online_retail__lines")
        assert cursor.fetchone() == (Decimal("9747747.934"),)
