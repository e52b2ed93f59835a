"""What the benchmarks' pages share: the line about the machine, the spread of figures, one page of all.

python tests/benchmarks/page.py      # writes docs/benchmarks.md from the pages in docs/benchmarks/
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import psutil

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: The pages, in the order of a row's way through the platform; others follow by name.
ORDER = ("generate", "load", "ingest", "transform")
HEAD = """\
# Benchmarks

<!-- Written by `python tests/benchmarks/page.py` from the pages in docs/benchmarks. Do not edit. -->

Each part was written by the script that measured it, and names its machine. Seconds depend on the machine and
on what else it does; ratios are taken within one run.
"""


def machine(*, with_warehouse: bool = True) -> str:
    """The sentence about the machine, the versions on it, and how busy it was.

    Args:
        with_warehouse: Whether PostgreSQL and dbt have a part in what was measured.
    """
    parts = [
        f"{os.cpu_count()} cores",
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        f"{platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}",
    ]
    if with_warehouse:
        parts += [f"PostgreSQL {_postgres_version()}", f"dbt {version('dbt-core')}"]
    return f"Machine: {', '.join(parts)}, load average {os.getloadavg()[0]:.1f}."


def _postgres_version() -> str:
    from ecommerce_dw.platform.postgres import binaries_dir

    told = subprocess.run(
        [binaries_dir() / "postgres", "--version"], check=True, capture_output=True, text=True
    )
    return told.stdout.split()[-1]


def spread(figures: Iterable[float], digits: int, unit: str = "") -> str:
    """The median, the least and the greatest of the figures: "1.8 s (1.7 to 2.1)"."""
    measured = list(figures)
    median, least, most = (
        f"{figure:.{digits}f}" for figure in (statistics.median(measured), min(measured), max(measured))
    )
    return f"{median}{unit} ({least} to {most})"


def write(text: str, out: Path | None) -> None:
    """Print a benchmark's page and write it to `out`; docs/benchmarks.md too, where the page is in it."""
    print(text)
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    if out.resolve().parent == DOCS / "benchmarks":
        write_all()


def write_all() -> None:
    """Write docs/benchmarks.md."""
    (DOCS / "benchmarks.md").write_text(assemble(DOCS / "benchmarks"), encoding="utf-8")


def assemble(folder: Path) -> str:
    """One page of all pages in a folder: unchanged, but for headings one level lower.

    Raises:
        ValueError: A page has no title in its first line, or does not name its machine.
    """
    places = {name: place for place, name in enumerate(ORDER)}
    contents, parts = [], []
    for page in sorted(folder.glob("*.md"), key=lambda page: (places.get(page.stem, len(ORDER)), page.stem)):
        text = page.read_text(encoding="utf-8")
        title = re.match(r"# (.+)\n", text)
        if not title or "\nMachine: " not in text:
            raise ValueError(f"{page} must begin with a title and have a line that begins with 'Machine: '.")
        anchor = re.sub(r"[^\w -]", "", title[1].lower()).replace(" ", "-")
        contents.append(f"- [{title[1]}](#{anchor})")
        parts.append(_lower(text))
    return "\n".join([HEAD, *contents, "", *parts])


def _lower(text: str) -> str:
    lines, is_code = [], False
    for line in text.rstrip("\n").split("\n"):
        is_code ^= line.startswith("```")
        lines.append(f"#{line}" if not is_code and re.match("#+ ", line) else line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_all()
