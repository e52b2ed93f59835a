"""Every bad file of the catalogue: loaded, without the rows that are bad, or refused; and said so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.loading import LoadSummary
from ecommerce_dw.loading.outcome import FileOutcome
from ecommerce_dw.loading.printable import is_printable, printable
from ecommerce_dw.settings import PROJECT_DIR
from tests.faults.bad_files import DAY, BadFile, catalogue, file_of, row
from tests.faults.conftest import Warehouse

CATALOGUE = catalogue(read_contracts(PROJECT_DIR / "airflow" / "include" / "contracts"))


@dataclass
class Loaded:
    """What one load of all of them left behind."""

    warehouse: Warehouse
    summary: LoadSummary
    outcomes: dict[tuple[str, str], FileOutcome]
    ledger: dict[tuple[str, str], tuple[Any, ...]]
    reasons: dict[tuple[str, str], dict[int, list[str]]]
    rows: dict[tuple[str, str], int]


@pytest.fixture(scope="module")
def loaded(warehouse: Warehouse) -> Loaded:
    """All bad files and a good one of each entity, loaded at once."""
    for source, entities in warehouse.contracts.items():
        for contract in entities.values():
            path = contract.layout.pattern.replace("{name}", DAY).replace("{date}", DAY).replace("{part}", "")
            warehouse.land(source, path, file_of(contract, row(contract, 1), row(contract, 2)))
    for bad in CATALOGUE:
        target = warehouse.settings.landing(bad.source) / bad.path
        target.parent.mkdir(parents=True, exist_ok=True)
        bad.place(target)
    summary = warehouse.load()
    reasons: dict[tuple[str, str], dict[int, list[str]]] = {}
    for source, path, line, told in warehouse.query(
        "select source, path, line_number, reasons from raw.rejected_rows order by line_number"
    ):
        reasons.setdefault((source, path), {})[line] = told
    return Loaded(
        warehouse,
        summary,
        {(outcome.source, outcome.path): outcome for outcome in summary.outcomes},
        {
            (source, path): (status, read, rows, rejected, message)
            for source, path, status, read, rows, rejected, message in warehouse.query(
                "select source, path, status, rows_read, rows_loaded, rows_rejected, message "
                "from raw.load_ledger"
            )
        },
        reasons,
        warehouse.rows_by_file(),
    )


def test_the_catalogue_covers_every_entity_and_is_large_enough() -> None:
    contracts = read_contracts(PROJECT_DIR / "airflow" / "include" / "contracts")
    entities = {(source, entity) for source, those in contracts.items() for entity in those}
    assert {(bad.source, bad.entity) for bad in CATALOGUE if bad.path.endswith(".csv")} == entities
    assert {(bad.source, bad.entity) for bad in CATALOGUE if bad.path.endswith(".gz")} == entities
    assert len({bad.name for bad in CATALOGUE}) == len(CATALOGUE) >= 400


@pytest.mark.parametrize("bad", CATALOGUE, ids=lambda bad: bad.name)
def test_a_bad_file_ends_as_the_catalogue_says(
    loaded: Loaded, bad: BadFile, figure: Callable[..., None]
) -> None:
    figure(
        "malformed files by outcome",
        f"loaded, {'some' if bad.rejected else 'no'} rows rejected"
        if bad.outcome == "loaded"
        else bad.outcome,
    )
    key = bad.source, printable(bad.path)
    if bad.outcome == "unmatched":
        assert f"{bad.source}: {printable(bad.path)}" in loaded.summary.unmatched
        assert key not in loaded.ledger
        return
    outcome = loaded.outcomes[key]
    assert outcome.outcome == bad.outcome, outcome.message
    message = outcome.message or ""
    assert bad.said in message
    if bad.outcome == "unreadable":
        assert key not in loaded.ledger
        assert key not in loaded.rows
        assert bad.path.rsplit("/", 1)[-1] in message or printable(bad.path) in message
        return
    status, read, rows, rejected, _ = loaded.ledger[key]
    assert status == bad.outcome
    assert loaded.rows.get(key, 0) == rows
    if bad.outcome == "refused":
        assert rows == 0
        assert message
        return
    assert (read, rows, rejected) == (bad.records, bad.records - len(bad.rejected), len(bad.rejected))
    reasons = loaded.reasons.get(key, {})
    assert sorted(reasons) == sorted(bad.rejected)
    for line, said in bad.rejected.items():
        told = "; ".join(reasons[line])
        assert all(part in told for part in said.split("*")), (line, told)


def test_what_is_good_in_the_same_batch_loads(loaded: Loaded) -> None:
    for source, entities in loaded.warehouse.contracts.items():
        for contract in entities.values():
            path = contract.layout.pattern.replace("{name}", DAY).replace("{date}", DAY).replace("{part}", "")
            assert loaded.rows[source, path] == 2


def test_ledger_rows_and_rejects_reconcile(loaded: Loaded) -> None:
    told = loaded.warehouse.query(
        """
        select count(*), count(*) filter (where l.status = 'loaded'
            and (l.rows_read <> l.rows_loaded + l.rows_rejected or l.rows_rejected <> r.rejects))
        from raw.load_ledger as l
        cross join lateral (
            select count(*) as rejects from raw.rejected_rows as r where r.file_id = l.file_id
        ) as r
        """
    )
    files = sum(bad.outcome in ("loaded", "refused") for bad in CATALOGUE)
    entities = sum(map(len, loaded.warehouse.contracts.values()))
    assert told == [(files + entities, 0)]


def test_messages_and_paths_can_be_shown(loaded: Loaded) -> None:
    summary = dataclasses.replace(loaded.summary)
    shown = [text for outcome in summary.outcomes for text in (outcome.path, outcome.message or "")]
    assert [text for text in (*shown, *summary.unmatched) if not is_printable(text)] == []


def test_a_rerun_changes_nothing(loaded: Loaded) -> None:
    before = loaded.warehouse.state()
    again = loaded.warehouse.load()
    assert loaded.warehouse.state() == before
    assert (again.files_loaded, again.files_refused) == (0, 0)
    assert again.files_failed == loaded.summary.files_failed
    verified = loaded.warehouse.load(verify=True)
    assert loaded.warehouse.state() == before
    assert (verified.files_loaded, verified.files_refused) == (0, 0)
