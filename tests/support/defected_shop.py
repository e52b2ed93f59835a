"""A warehouse that a defected shop delivers to, day by day, and what it found of the defects."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecommerce_dw import db, pipeline
from ecommerce_dw.quality import validate
from ecommerce_dw.settings import Settings
from shop_simulator import Arrivals, perform

SOURCE = "ecommerce"
LAYERS = ("staging", "warehouse", "marts")

#: Which count of ops.flagged_rows speaks of an orphan, by the column that names a missing parent.
ORPHAN_FLAGS = {
    ("orders", "customer_id"): ("customers", "inferred_customer"),
    ("order_items", "order_id"): ("order_items", "orphan_item_waiting"),
    ("order_items", "product_id"): ("products", "inferred_product"),
    ("payments", "order_id"): ("payments", "orphan_payment_waiting"),
    ("returns", "order_item_id"): ("returns", "orphan_return_waiting"),
    ("inventory", "product_id"): ("inventory", "unknown_product"),
    ("web_events", "customer_id"): ("web_events", "unknown_customer"),
    ("web_events", "product_id"): ("web_events", "unknown_product"),
}
#: What the loader says of a line that is wrong as a whole.
LINE_REASONS = {
    "ragged_line": "fields where the header has",
    "broken_encoding": "is not UTF-8",
    "stray_quote": "a quotation mark is opened and not closed",
    "duplicate_key_in_file": "the key stands again on line",
}


@dataclass(frozen=True)
class Injected:
    """A line of the truth's defects.csv."""

    kind: str
    entity: str
    business_date: dt.date
    file: str
    line: int | None
    key: str
    column: str
    injected: str
    outcome: str
    arrives_on: dt.date | None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{self.kind} of {self.business_date} {place} {self.column}: {self.injected}"


def read_defects(folder: Path) -> list[Injected]:
    """The defects that the truth names."""
    with (folder / "defects.csv").open(newline="", encoding="utf-8") as file:
        return [
            Injected(
                row["kind"],
                row["entity"],
                dt.date.fromisoformat(row["business_date"]),
                row["file"],
                int(row["line_number"]) if row["line_number"] else None,
                row["key"],
                row["column"],
                row["injected"],
                row["outcome"],
                dt.date.fromisoformat(row["arrives_on"]) if row["arrives_on"] else None,
            )
            for row in csv.DictReader(file)
        ]


def read_expected(folder: Path) -> dict[str, Any]:
    """What the truth expects of it all."""
    expected: dict[str, Any] = json.loads((folder / "truth.json").read_text())["defects"]["expected"]
    return expected


class Platform:
    """One warehouse with its landing zone, run every day for the day before."""

    def __init__(self, settings: Settings, arrivals: Arrivals) -> None:
        self.settings = settings
        self.arrivals = arrivals
        self._layers_built = 0

    def live(self, day: dt.date, *, transforms: bool) -> None:
        """What comes on a day, then its run: load, checkpoint, and now and then all the rest.

        A critical finding at the checkpoint does not end the run here: the shop's defects are known.
        """
        landing = self.settings.landing(SOURCE)
        for arrival in self.arrivals.arrivals(day):
            perform(landing, arrival)
        run_id = run_of(day)
        pipeline.load_step(run_id=run_id, business_date=day, settings=self.settings)
        # what is expected of rows is looked at when they are built; of files, every day
        validate(self.settings, "raw", run_id, tables=None if transforms else ["load_ledger"])
        if transforms:
            for layer in LAYERS:
                pipeline.build_step(layer, run_id=run_id, settings=self.settings)
            pipeline.publish_step(run_id=run_id, settings=self.settings)

    def query(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        connection = db.connect("owner", settings=self.settings)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        connection.close()
        return rows


def run_of(day: dt.date) -> str:
    """The run about a day."""
    return f"run_{day}"


class Findings:
    """Everything the warehouse knows about what went wrong, read once."""

    def __init__(self, platform: Platform, expected: Mapping[str, Any]) -> None:
        self.expected_flags: Mapping[str, Mapping[str, int]] = expected["flagged"]
        self.rejected: dict[tuple[str, int], list[str]] = defaultdict(list)
        for path, line, reasons in platform.query(
            "select path, line_number, reasons from raw.rejected_rows where source = %s", (SOURCE,)
        ):
            self.rejected[path, line] += reasons
        # file versions: version, run, status, digest, rejected rows
        self.versions: dict[str, list[tuple[int, str, str, str, int]]] = defaultdict(list)
        for path, *rest in platform.query(
            "select path, version, run_id, status, sha256, rows_rejected from raw.load_ledger "
            "where source = %s order by path, version",
            (SOURCE,),
        ):
            self.versions[path].append((rest[0], rest[1], rest[2], rest[3], rest[4]))
        self.attempts = Counter(
            platform.query(
                "select path, run_id, outcome from ops.load_attempts "
                "where source = %s and outcome <> 'skipped'",
                (SOURCE,),
            )
        )
        self.results: dict[tuple[str, str], tuple[int, list[dict[str, Any]]]] = {
            (run_id, name): (count, observed["examples"])
            for run_id, name, count, observed in platform.query(
                "select run_id, name, unexpected_count, observed from ops.expectation_results "
                "where not is_success"
            )
        }
        self.flags: dict[tuple[str, str], int] = {
            (entity, kind): count
            for entity, kind, count in platform.query(
                "select entity, kind, row_count from ops.flagged_rows where source_system = %s", (SOURCE,)
            )
        }
        self.lines = raw_lines(platform)

    def has(self, defect: Injected) -> bool:
        """Whether the warehouse names this defect where it was made."""
        look = getattr(self, f"_has_{defect.kind}", self._is_rejected)
        return bool(look(defect))

    def _is_rejected(self, defect: Injected) -> bool:
        assert defect.line is not None
        reasons = self.rejected.get((defect.file, defect.line), [])
        told = LINE_REASONS.get(defect.kind)
        if told is not None:
            return any(told in reason for reason in reasons)
        return any(reason.startswith(f"{defect.column}: ") for reason in reasons)

    def _is_loaded(self, defect: Injected) -> bool:
        return defect.line in self.lines.get(defect.file, ())

    def _is_counted(self, entity: str, kind: str) -> bool:
        wanted = self.expected_flags[entity][kind]
        return self.flags.get((entity, kind), 0) == wanted > 0

    def _has_orphan(self, defect: Injected) -> bool:
        flag = ORPHAN_FLAGS.get((defect.entity, defect.column))
        return flag is not None and self._is_loaded(defect) and self._is_counted(*flag)

    def _has_duplicate_key_across_files(self, defect: Injected) -> bool:
        return self._is_loaded(defect) and self._is_counted(defect.entity, "superseded_version")

    def _is_named_missing(self, defect: Injected) -> bool:
        return self._names(
            defect.business_date, "load_ledger.every entity of a source has its file",
            entity=defect.entity, business_date=str(defect.business_date),
        )  # fmt: skip

    def _names(self, day: dt.date, expectation: str, **wanted: str) -> bool:
        _, examples = self.results.get((run_of(day), expectation), (0, []))
        return any(
            wanted.items() <= {name: str(value) for name, value in row.items()}.items() for row in examples
        )

    def _arrived_in(self, defect: Injected) -> str:
        assert defect.arrives_on is not None
        return run_of(defect.arrives_on)

    def _has_late_file(self, defect: Injected) -> bool:
        runs = [run for _, run, status, *_ in self.versions[defect.file] if status == "loaded"]
        return runs == [self._arrived_in(defect)] and self._is_named_missing(defect)

    _has_half_written_file = _has_late_file

    def _has_redelivered_unchanged(self, defect: Injected) -> bool:
        return self.attempts[defect.file, self._arrived_in(defect), "unchanged"] == 1

    def _has_redelivered_changed(self, defect: Injected) -> bool:
        versions = self.versions[defect.file]
        return len(versions) == 2 and versions[1][1:3] == (self._arrived_in(defect), "loaded")

    def _has_redelivered_changed_back(self, defect: Injected) -> bool:
        versions = self.versions[defect.file]
        return (
            len(versions) == 3
            and versions[2][1:3] == (self._arrived_in(defect), "loaded")
            and versions[0][3] == versions[2][3] != versions[1][3]
        )

    def _has_truncated_file(self, defect: Injected) -> bool:
        versions = self.versions[defect.file]
        cut = int(defect.injected.split("line ")[1].split(",")[0])
        reasons = self.rejected.get((defect.file, cut), [])
        return (
            [(run, status) for _, run, status, *_ in versions]
            == [(run_of(defect.business_date), "loaded"), (self._arrived_in(defect), "loaded")]
            and any(LINE_REASONS["ragged_line"] in reason for reason in reasons)
        )  # fmt: skip

    def _has_unreadable_file(self, defect: Injected) -> bool:
        day = defect.business_date
        return [(run, status) for _, run, status, *_ in self.versions[defect.file]] == [
            (run_of(day), "refused"),
            (self._arrived_in(defect), "loaded"),
        ] and any(
            self._names(day, f"load_ledger.{expectation}", path=defect.file)
            for expectation in ("no file is refused", "no tolerated file is refused")
        )

    def _has_missing_day(self, defect: Injected) -> bool:
        day = defect.business_date
        return any(
            self._names(
                day + dt.timedelta(days=later),
                "load_ledger.no day of a source is missing",
                business_date=str(day),
            )
            for later in range(8)
        )


def raw_lines(platform: Platform) -> dict[str, set[int]]:
    """The lines of each file that are in the raw tables."""
    tables = platform.query(
        "select distinct entity from raw.load_ledger where source = %s order by entity", (SOURCE,)
    )
    found: dict[str, set[int]] = {}
    for (entity,) in tables:
        for path, lines in platform.query(
            f"select l.path, array_agg(r._line_number) from raw.{SOURCE}__{entity} as r "
            "join raw.load_ledger as l on l.file_id = r._file_id group by l.path"
        ):
            found[path] = set(lines)
    return found


def table_of(injected: Sequence[Injected], findings: Findings) -> tuple[str, list[Injected]]:
    """A table by kind, injected and found, and the defects that were not found."""
    missed = [defect for defect in injected if not findings.has(defect)]
    totals = Counter(defect.kind for defect in injected)
    losses = Counter(defect.kind for defect in missed)
    lines = [f"{'kind':<28}{'injected':>10}{'found':>10}"]
    lines += [f"{kind:<28}{count:>10,}{count - losses[kind]:>10,}" for kind, count in sorted(totals.items())]
    lines.append(f"{'all':<28}{len(injected):>10,}{len(injected) - len(missed):>10,}")
    return "\n".join(lines), missed
