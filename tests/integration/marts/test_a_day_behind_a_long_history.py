"""A day costs the same behind a long history: counted in rows that the server reads, not in seconds.

The benchmark in small: `tests/benchmarks/transform.py` takes the time at full size.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "transform.py"


@pytest.mark.slow
def test_a_day_behind_ten_times_the_history_reads_at_most_a_quarter_more(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    sizes = {"small": 30_000, "big": 300_000, "lines-per-day": 1_000, "customers": 5_000, "products": 300}
    subprocess.run(
        [
            sys.executable, BENCHMARK, "--days-only", "--rounds", "2", "--out", page,
            *(f"--{name}={size}" for name, size in sizes.items()),
        ],
        check=True,
    )  # fmt: skip
    text = page.read_text()
    row = re.search(r"\| rows the server read \(M\) \| ([\d.]+) \| ([\d.]+) \|", text)
    assert row, text
    short, long = map(float, row.groups())
    assert 0 < long <= 1.25 * short, text
