"""Every change of a contract asks for a step of its version; `released.json` holds the contracts to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecommerce_dw import settings as settings_module
from ecommerce_dw.cli import main
from ecommerce_dw.contracts import evolution
from ecommerce_dw.contracts.reader import read_contract, read_contracts
from ecommerce_dw.contracts.released import VersionError, check_versions, released_files
from ecommerce_dw.settings import PROJECT_DIR

CONTRACTS = PROJECT_DIR / "airflow" / "include" / "contracts"
ORDERS = CONTRACTS / "ecommerce" / "orders.odcs.yaml"


def edited(folder: Path, *replacements: tuple[str, str]) -> Path:
    """The orders' contract below a folder with texts replaced; each must be there."""
    file = folder / "ecommerce" / "orders.odcs.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    text = ORDERS.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("old", "new", "what", "version"),
    [
        ("Currency of the amounts.", "ISO 4217.", "column currency: other description", "1.0.1"),
        ("One row per order and day of change", "One row per order", "other grain", "1.0.1"),
        ("value: critical", "value: warning", "other refusal severity", "1.0.1"),
        ("    value: 1\n    unit: d", "    value: 2\n    unit: d", "other max staleness days", "1.0.1"),
        ("pii-indirect", "pii-direct", "column customer_id: other class of personal data", "1.0.1"),
        ("maxLength: 64", "maxLength: 65", "column order_id: max length 64 → 65", "1.1.0"),
        ("maxLength: 64", "maxLength: 63", "column order_id: max length 64 → 63", "2.0.0"),
        ("minimum: 0", "minimum: -1", "column shipping_cost: minimum 0 → -1", "1.1.0"),
        ("minimum: 0", "minimum: 1", "column shipping_cost: minimum 0 → 1", "2.0.0"),
        ("minimum: 0", "minimum: 0\n          maximum: 9", "column shipping_cost: maximum none → 9", "2.0.0"),
        ("multipleOf: 0.01", "multipleOf: 0.001", "column shipping_cost: scale 2 → 3", "1.1.0"),
        ("multipleOf: 0.01", "multipleOf: 1", "column shipping_cost: scale 2 → 0", "2.0.0"),
        ("[credit_card, ", "[cash, credit_card, ", "column payment_method: allowed values", "1.1.0"),
        ("[credit_card, ", "[", "column payment_method: allowed values", "2.0.0"),
        ("pattern: '^[A-Z]{3}$'", "pattern: '^[A-Z]+$'", "column currency: pattern", "2.0.0"),
        ("charged to the customer.\n        required: true", "charged to the customer.",
         "column shipping_cost: required yes → none", "1.1.0"),
        ("How the order was paid.", "How the order was paid.\n        required: true",
         "column payment_method: required none → yes", "2.0.0"),
        ("- to: customers.customer_id", "- to: customers.id", "column customer_id: reference", "1.1.0"),
        ("- name: customer_id", "- name: customer_id\n        physicalName: customer",
         "column customer_id: header customer_id → customer", "2.0.0"),
        ("value: [order_id, customer_id]", "value: [order_id]", "touch keys", "2.0.0"),
        ("value: [order_id, ", "value: [order_date, order_id, ", "touch keys", "1.1.0"),
        ("value: updated_at", "value: created_at", "ordering column updated_at → created_at", "2.0.0"),
        ("value: UTC", "value: Europe/London", "time zone UTC → Europe/London", "2.0.0"),
        ("value: USD", "value: EUR", "currency USD → EUR", "2.0.0"),
        ('value: ","', 'value: ";"', "delimiter , → ;", "2.0.0"),
        ("[none, gzip]", "[none]", "compressions", "2.0.0"),
        ("orders/dt={date}", "o/dt={date}", "path of the files", "2.0.0"),
        ("value: 10\n", "value: 11\n", "max rejected rows 10 → 11", "1.1.0"),
        ("value: 0.05", "value: 0.04", "max rejected share 0.05 → 0.04", "2.0.0"),
        ("value: ignore", "value: refuse", "extra columns ignore → refuse", "2.0.0"),
    ],
)  # fmt: skip
def test_every_change_is_named_and_asks_for_a_version(
    tmp_path: Path, old: str, new: str, what: str, version: str
) -> None:
    before = evolution.content(read_contract(ORDERS))
    after = evolution.content(read_contract(edited(tmp_path, (old, new))))

    changes = evolution.compare(before, after)

    assert [change.what[: len(what)] for change in changes] == [what]
    assert evolution.required_version("1.0.0", changes) == version
    problem = evolution.version_problem(before, after, changes)
    assert problem is not None and f"Give it version {version} or higher" in problem
    assert evolution.version_problem(before, {**after, "version": version}, changes) is None


def test_nothing_a_contract_says_changes_unseen() -> None:
    """A field that is added to the model must be compared, too."""
    before = evolution.content(read_contract(ORDERS))
    other = {str: "other", int: 77, list: ["other"]}
    for name, value in before.items():
        if name in ("version", "columns"):
            continue
        changed = "0.9" if name == "max_rejected_share" else other[type(value)]
        assert evolution.compare(before, {**before, name: changed}), name
    for column, said in before["columns"].items():
        for name, value in said.items():
            changed = "9" if name in ("minimum", "maximum") else None if value is True else other[type(value)]
            columns = {**before["columns"], column: {**said, name: changed}}
            assert evolution.compare(before, {**before, "columns": columns}), (column, name)


def test_what_is_kept_as_json_is_what_was_said() -> None:
    for entities in read_contracts(CONTRACTS).values():
        for contract in entities.values():
            said = evolution.content(contract)
            assert json.loads(json.dumps(said)) == said
            assert evolution.compare(said, said) == ()


def test_released_contracts_hold_new_ones_to_their_version(tmp_path: Path) -> None:
    shutil.copytree(CONTRACTS, tmp_path, dirs_exist_ok=True)
    for file, text in released_files(read_contracts(tmp_path), tmp_path).items():
        file.write_text(text)
    check_versions(read_contracts(tmp_path), tmp_path)

    edited(tmp_path, ("maxLength: 64", "maxLength: 65"))
    with pytest.raises(VersionError, match=r"^ecommerce\.orders: It changed \(column order_id: .* 1\.1\.0"):
        check_versions(read_contracts(tmp_path), tmp_path)

    edited(tmp_path, ("maxLength: 64", "maxLength: 65"), ("version: 1.0.0", "version: 1.1.0"))
    check_versions(read_contracts(tmp_path), tmp_path)

    (tmp_path / "ecommerce" / "released.json").write_text("{")
    with pytest.raises(VersionError, match=r"released\.json: This is not valid JSON"):
        check_versions(read_contracts(tmp_path), tmp_path)


@pytest.mark.parametrize("command", [["check"], ["sync", "--check"]])
def test_the_commands_refuse_a_changed_contract_of_the_same_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    shutil.copytree(CONTRACTS, tmp_path / "contracts")
    edited(tmp_path / "contracts", ("maxLength: 64", "maxLength: 65"))
    monkeypatch.setenv("CONTRACTS_DIR", str(tmp_path / "contracts"))
    settings_module.get_settings.cache_clear()
    try:
        plain = CliRunner().invoke(main, ["contracts", *command])
        machine = CliRunner().invoke(main, ["contracts", *command, "--json"])
    finally:
        settings_module.get_settings.cache_clear()

    assert (plain.exit_code, machine.exit_code) == (1, 1)
    assert "ecommerce.orders: It changed (column order_id: max length 64 → 65)" in plain.output
    assert "ecommerce.orders" in json.loads(machine.output)["problem"]
