"""Log lines of real commands, as a collector reads them: a JSON object a line, with the run and the file."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.contextvars

from ecommerce_dw.logs import JsonFormatter, about
from ecommerce_dw.settings import Settings

BIN = Path(sys.executable).parent


def run(settings: Settings, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`ecommerce-dw …` in a process of its own."""
    return subprocess.run(
        [str(BIN / "ecommerce-dw"), *arguments],
        env=os.environ | settings.environment() | {"LOG_FORMAT": "json"} | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Every line of standard error, each of which is an object with what each has to have."""
    found = [json.loads(line) for line in done.stderr.splitlines()]
    for line in found:
        assert set(line) >= {"timestamp", "level", "logger", "event"}
        assert line["timestamp"].endswith("Z")
        assert dt.datetime.fromisoformat(line["timestamp"]).utcoffset() == dt.timedelta(0)
    return found


def land(settings: Settings, name: str, content: str) -> None:
    file = settings.landing("sales") / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def test_a_load_says_of_each_line_which_run_and_file_it_is_about(settings: Settings) -> None:
    header = "Date,Customer ID,Order ID,Sales\n"
    land(settings, "good 2026-01-05.csv", header + "2026-01-05,C1,O1,3.50\n")
    land(settings, 'Bücher "2026-01-06".csv', "Day,Buyer\nx,y\n")
    done = run(settings, "-v", "load", "--json", "--run-id", "night-1")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["files_refused"] == 1
    found = lines(done)
    assert {(line["run_id"], line["step"]) for line in found} == {("night-1", "load")}
    of_files = {line["file"]: line for line in found if "file" in line}
    assert set(of_files) == {"good 2026-01-05.csv", 'Bücher "2026-01-06".csv'}
    assert {(line["source"], line["entity"]) for line in of_files.values()} == {("sales", "sales")}
    assert of_files["good 2026-01-05.csv"]["level"] == "info"
    assert of_files['Bücher "2026-01-06".csv']["level"] == "warning"


def test_without_a_run_a_load_is_a_run_of_its_own(settings: Settings) -> None:
    land(settings, "wrong 2026-01-06.csv", "Day,Buyer\nx,y\n")
    [line] = lines(run(settings, "load", "--json"))
    assert line["run_id"].startswith("cli__load__")


def test_errors_are_a_line_too(settings: Settings, tmp_path: Path) -> None:
    wrong_use = run(settings, "load", "--source", "nobody", "--json")
    assert wrong_use.returncode == 2
    assert "nobody" in lines(wrong_use)[-1]["event"]
    # Nobody listens there: what no command expects ends in a traceback, which is a field of one line.
    uncaught = run(settings, "load", "--json", WAREHOUSE_PORT="1")
    assert uncaught.returncode == 1
    [line] = lines(uncaught)
    assert line["level"] == "critical"
    assert "Traceback" in line["exception"] and "\n" in line["exception"]


@pytest.mark.parametrize(("level", "expected"), [("info", {"info", "warning"}), ("error", set())])
def test_the_level_of_the_settings_wins(settings: Settings, level: str, expected: set[str]) -> None:
    land(settings, "good 2026-01-05.csv", "Date,Customer ID,Order ID,Sales\n2026-01-05,C1,O1,3.50\n")
    land(settings, "wrong 2026-01-06.csv", "Day,Buyer\nx,y\n")
    assert {line["level"] for line in lines(run(settings, "load", "--json", LOG_LEVEL=level))} == expected


def test_text_is_for_people(settings: Settings) -> None:
    land(settings, "wrong 2026-01-06.csv", "Day,Buyer\nx,y\n")
    done = run(settings, "load", "--json", LOG_FORMAT="text")
    assert " WARNING ecommerce_dw.loading.batch: wrong 2026-01-06.csv: " in done.stderr


@pytest.mark.slow
def test_every_step_of_an_ingested_file_names_its_run(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """Also what the checkpoints' own process and dbt say."""
    settings = make_settings()
    file = tmp_path / "shop.csv"
    file.write_text("Date,Customer ID,Order ID,Sales\n2026-01-05,C1,O1,3.50\n2026-01-06,C2,O2,x\n")
    done = run(settings, "-v", "ingest", str(file), "--source", "sales", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    run_id = json.loads(done.stdout)["run_id"]
    found = lines(done)
    own = [line for line in found if line["logger"].startswith("ecommerce_dw")]
    assert {line.get("run_id") for line in own} == {run_id}
    assert {line["step"] for line in own} >= {
        *("load", "check_raw", "build_staging", "build_warehouse", "check_warehouse", "build_marts"),
        "check_marts",
    }
    assert {line["file"] for line in own if "file" in line} == {"shop.csv"}


def test_whatever_is_logged_is_one_line_of_ascii() -> None:
    try:
        raise ValueError("first\nsecond\u2028third")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "a\r\nb \udcff %s", ("\x00",), sys.exc_info())
    line = JsonFormatter().format(record)
    assert line.isascii() and len(line.splitlines()) == 1
    assert json.loads(line)["event"] == "a\r\nb \udcff \x00"


def test_airflow_takes_over_what_a_line_is_about() -> None:
    """It logs by structlog, whose lines take in the context."""
    with about(run_id="r", step="load", file=None):
        assert structlog.contextvars.merge_contextvars(None, "info", {"event": "e"}) == {
            "event": "e",
            "run_id": "r",
            "step": "load",
        }
    assert structlog.contextvars.merge_contextvars(None, "info", {}) == {}
