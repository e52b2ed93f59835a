"""A file compared with its contract: what changed, and the version that would take it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecommerce_dw.commands.contracts import command
from ecommerce_dw.contracts import evolution
from ecommerce_dw.contracts.reader import read_contract, read_contracts
from ecommerce_dw.loading.drift import Drift, compare_file, find_contract, proposed_yaml
from ecommerce_dw.loading.stream import renamed
from ecommerce_dw.settings import PROJECT_DIR
from tests.faults.bad_files import file_of, header, row

FOLDER = PROJECT_DIR / "airflow" / "include" / "contracts"
CONTRACTS = read_contracts(FOLDER)
ORDERS = CONTRACTS["ecommerce"]["orders"]
ALL = [contract for entities in CONTRACTS.values() for contract in entities.values()]
ROWS = [row(ORDERS, number) for number in range(1, 5)]


def drift_of(tmp_path: Path, data: str | bytes) -> Drift:
    """What becomes of orders in this form."""
    file = tmp_path / "orders.csv"
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return compare_file(file, ORDERS)


def told(drift: Drift) -> list[tuple[str, str]]:
    return [(difference.kind, difference.column) for difference in drift.differences]


@pytest.mark.parametrize("contract", ALL, ids=lambda contract: f"{contract.source}-{contract.entity}")
def test_a_file_that_follows_its_contract_has_no_differences(tmp_path: Path, contract: object) -> None:
    assert any(contract is one for one in ALL)
    for one in ALL:
        if one is contract:
            file = tmp_path / "file.csv"
            file.write_bytes(file_of(one, *(row(one, n) for n in range(5))))
            drift = compare_file(file, one)
            assert (drift.rows, drift.differences, drift.changes, drift.proposed) == (5, (), (), one)
            assert find_contract(file, ALL) is one


def test_a_new_column_is_a_minor_version_with_its_type(tmp_path: Path) -> None:
    values = ("1.5", "2", "", "7")
    drift = drift_of(
        tmp_path,
        "\n".join([header(ORDERS) + ",Net Weight", *(f"{r},{v}" for r, v in zip(ROWS, values, strict=True))]),
    )
    assert told(drift) == [("new", "net_weight")]
    assert drift.proposed.version == "1.1.0"
    column = drift.proposed.column("net_weight")
    assert (column.header, column.type, column.is_required) == ("Net Weight", "numeric", False)


def test_a_renamed_column_is_a_major_version_and_keeps_its_name(tmp_path: Path) -> None:
    names = header(ORDERS).replace("total_amount", "TotalAmt").replace("order_status", "state")
    drift = drift_of(tmp_path, "\n".join([names, *ROWS]))
    assert told(drift) == [("renamed", "order_status"), ("renamed", "total_amount")]
    assert drift.proposed.version == "2.0.0"
    assert drift.proposed.column("total_amount").header == "TotalAmt"
    assert drift.proposed.column("order_status").header == "state"


def test_a_column_that_is_gone_stays_in_the_contract_without_required(tmp_path: Path) -> None:
    position = header(ORDERS).split(",").index("tax_amount")
    lines = [
        ",".join(field for n, field in enumerate(line.split(",")) if n != position)
        for line in (header(ORDERS), *ROWS)
    ]
    drift = drift_of(tmp_path, "\n".join(lines))
    assert told(drift) == [("missing", "tax_amount")]
    assert drift.proposed.version == "1.1.0"
    assert not drift.proposed.column("tax_amount").is_required


def test_a_wider_type_is_minor_and_another_type_is_major_and_says_that_no_table_follows(
    tmp_path: Path,
) -> None:
    items = CONTRACTS["ecommerce"]["order_items"]
    file = tmp_path / "items.csv"
    file.write_bytes(file_of(items, *(row(items, n, quantity=str(2**40 + n)) for n in range(4))))
    drift = compare_file(file, items)
    assert told(drift) == [("retyped", "quantity")]
    assert (drift.proposed.column("quantity").type, drift.proposed.version) == ("bigint", "1.1.0")

    drift = drift_of(tmp_path, file_of(ORDERS, *(row(ORDERS, n, tax_amount="5,25 $") for n in range(4))))
    assert told(drift) == [("retyped", "tax_amount")]
    assert (drift.proposed.column("tax_amount").type, drift.proposed.version) == ("text", "2.0.0")
    assert "impossible" in {change.effect for change in drift.changes}


def test_few_bad_values_are_no_drift_and_new_words_are_proposed(tmp_path: Path) -> None:
    rows = [row(ORDERS, n) for n in range(98)]
    rows.append(row(ORDERS, 98, tax_amount="n/a"))
    rows.append(row(ORDERS, 99, payment_method="apple_pay"))
    drift = drift_of(tmp_path, file_of(ORDERS, *rows))
    assert told(drift) == [("values", "payment_method"), ("values", "tax_amount")]
    assert drift.proposed.version == "1.1.0"
    assert "apple_pay" in drift.proposed.column("payment_method").allowed_values
    assert drift.proposed.column("tax_amount").type == "numeric"


@pytest.mark.parametrize("contract", ALL, ids=lambda contract: f"{contract.source}-{contract.entity}")
def test_what_is_proposed_is_a_contract_and_its_number_is_right(tmp_path: Path, contract: object) -> None:
    one = next(candidate for candidate in ALL if candidate is contract)
    held = (*one.primary_key, one.date_column, one.ordering_column)
    required = next(c for c in one.columns if c.is_required and c.name not in held)
    names = header(one).replace(required.header, "zzz") + ',"Gift ""Note"" é"'
    file = tmp_path / "file.csv"
    file.write_text(names + "\n" + "".join(f"{row(one, n)},2026-01-0{n}\n" for n in range(1, 5)))
    drift = compare_file(file, one)
    proposed = tmp_path / one.source / f"{one.entity}.odcs.yaml"
    proposed.parent.mkdir()
    proposed.write_text(proposed_yaml(drift, FOLDER / one.source / f"{one.entity}.odcs.yaml"))

    read = read_contract(proposed)

    before, now = evolution.content(one), evolution.content(read)
    assert now == evolution.content(drift.proposed)
    changes = evolution.compare(before, now)
    assert changes == drift.changes
    assert evolution.version_problem(before, now, changes) is None
    assert read.column("gift_note").type == "date"


def test_names_are_matched_by_their_spelling() -> None:
    assert renamed(["order_id", "tax_amount", "note"], ["Order ID", "tax", "mood"]) == {
        "order_id": "Order ID",
        "tax_amount": "tax",
    }
    assert renamed(["a"], []) == {}


def test_what_the_contract_stands_on_is_told_and_never_proposed_away(tmp_path: Path) -> None:
    sales = CONTRACTS["sales"]["sales"]
    file = tmp_path / "sales.csv"
    file.write_text("Customer ID,Order ID,Sales\nc,o,1\n")
    drift = compare_file(file, sales)
    assert (told(drift), drift.proposed) == ([("missing", "sale_date")], sales)
    file.write_bytes(file_of(sales, row(sales, 1, sale_date="5 January")))
    drift = compare_file(file, sales)
    assert (told(drift), drift.proposed) == ([("retyped", "sale_date")], sales)


# the command ------------------------------------------------------------------------------------------------


def test_the_command_prints_a_contract_with_the_differences_as_comments(tmp_path: Path) -> None:
    file = tmp_path / "orders" / "dt=2026-01-05" / "orders.csv"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join([header(ORDERS) + ",mood", *(f"{r},glad" for r in ROWS)]))

    done = CliRunner().invoke(command, ["diff", str(file)])

    assert done.exit_code == 1
    assert "#   new: 'mood' is new" in done.output
    proposed = tmp_path / "ecommerce" / "orders.odcs.yaml"
    proposed.parent.mkdir()
    proposed.write_text(done.output)
    assert read_contract(proposed).version == "1.1.0"


def test_the_commands_exit_code_says_what_it_found(tmp_path: Path) -> None:
    run = CliRunner().invoke
    file = tmp_path / "orders.csv"
    file.write_bytes(file_of(ORDERS, *ROWS))
    assert run(command, ["diff", str(file)]).exit_code == 0
    for data, said in (
        (b"", "empty"),
        (b"x,y\n1,2\n", "No contract has a column of"),
        (b"a\0b\n", "no text"),
    ):
        file.write_bytes(data)
        done = run(command, ["diff", str(file)])
        assert (done.exit_code, said in done.output, str(file) in done.output) == (2, True, True)
    file.unlink()
    assert run(command, ["diff", str(file)]).exit_code == 2
    done = run(command, ["diff", str(tmp_path), "--source", "ecommerce", "--entity", "orders"])
    assert (done.exit_code, "a folder, not a file" in done.output) == (2, True)
    done = run(command, ["diff", str(file), "--source", "nowhere", "--json"])
    assert (done.exit_code, json.loads(done.output)["ok"]) == (2, False)


def test_the_difference_for_machines(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("\n".join([header(ORDERS) + ",mood", *(f"{r},glad" for r in ROWS)]))
    told = json.loads(CliRunner().invoke(command, ["diff", str(file), "--json"]).output)
    assert (told["ok"], told["source"], told["entity"], told["proposed_version"], told["rows"]) == (
        *(False, "ecommerce", "orders", "1.1.0", 4),
    )
    assert told["differences"][0]["kind"] == "new"
