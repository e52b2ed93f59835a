"""A day costs the same behind a long history: held in rows that the server reads, not in seconds.

The benchmark `tests/benchmarks/transform.py`, in small and at the size of its page.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "transform.py"
#: A day reads at most so many times as much behind the long history.
LIMIT = 1.25


def _page(folder: Path, *options: str) -> str:
    page = folder / "page.md"
    subprocess.run([sys.executable, BENCHMARK, "--out", page, *options], check=True)
    return page.read_text()


def _rows_read(page: str) -> tuple[float, float]:
    """Rows that the server read for a day, behind the short history and behind the long one."""
    row = re.search(r"\| rows the server read \(M\) \| ([\d.]+) \| ([\d.]+) \|", page)
    assert row, page
    short, long = map(float, row.groups())
    return short, long


@pytest.mark.slow
def test_a_day_behind_ten_times_the_history_reads_at_most_a_quarter_more(tmp_path: Path) -> None:
    sizes = {"small": 30_000, "big": 300_000, "lines-per-day": 1_000, "customers": 5_000, "products": 300}
    options = (f"--{name}={size}" for name, size in sizes.items())
    page = _page(tmp_path, "--days-only", "--rounds=2", *options)
    short, long = _rows_read(page)
    assert 0 < long <= LIMIT * short, page


@pytest.mark.long
def test_a_day_behind_ten_million_lines_reads_at_most_a_quarter_more(tmp_path: Path) -> None:
    """The seconds are printed: they say something on a quiet machine with 30 GB of disk to spare."""
    page = _page(tmp_path, "--large-server", "--memory-orders=1000000")
    print(page)
    short, long = _rows_read(page)
    assert 0 < long <= LIMIT * short, page
