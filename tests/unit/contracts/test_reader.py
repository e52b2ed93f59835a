"""Contracts are read whole or refused with the place and the remedy."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from ecommerce_dw.contracts.model import Column
from ecommerce_dw.contracts.reader import ContractError, read_contract, read_contracts
from ecommerce_dw.settings import PROJECT_DIR

CONTRACTS = PROJECT_DIR / "airflow" / "include" / "contracts"


def changed(tmp_path: Path, entity: str, *replacements: tuple[str, str]) -> Path:
    """A copy of a contract of `ecommerce` with texts replaced; each must be there."""
    text = (CONTRACTS / "ecommerce" / f"{entity}.odcs.yaml").read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    file = tmp_path / "ecommerce" / f"{entity}.odcs.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_the_projects_contracts_are_read_whole() -> None:
    contracts = read_contracts(CONTRACTS)

    assert {source: sorted(entities) for source, entities in contracts.items()} == {
        "ecommerce": [
            "customers",
            "inventory",
            "marketing_spend",
            "order_items",
            "orders",
            "payments",
            "products",
            "returns",
            "web_events",
        ],
        "online_retail": ["lines"],
        "sales": ["sales"],
    }
    orders = contracts["ecommerce"]["orders"]
    assert orders.table == "ecommerce__orders"
    assert orders.primary_key == ("order_id",)
    assert orders.touch_keys == ("order_id", "customer_id")
    assert (orders.ordering_column, orders.currency, orders.currency_column) == (
        "updated_at",
        "USD",
        "currency",
    )
    assert orders.column("customer_id").references == ("customers", "customer_id")
    assert orders.column("shipping_cost").scale == 2
    assert orders.column("shipping_cost").minimum == 0
    assert orders.column("order_status").allowed_values == (
        "pending",
        "processing",
        "shipped",
        "delivered",
        "cancelled",
    )
    lines = contracts["online_retail"]["lines"]
    assert lines.primary_key == ()
    assert lines.max_staleness_days is None
    assert lines.time_zone == "Europe/London"
    assert lines.max_rejected_share == Decimal("0.01")
    assert lines.column("invoice_date") == Column(
        name="invoice_date",
        header="InvoiceDate",
        type="timestamptz",
        is_required=True,
        is_unique=False,
        minimum=None,
        maximum=None,
        scale=None,
        max_length=None,
        pattern=None,
        allowed_values=(),
        references=None,
        pii="none",
        description="When the line was invoiced, local time.",
        format="yyyy-MM-dd HH:mm:ss",
    )


def test_every_column_that_may_name_a_person_has_a_class() -> None:
    customers = read_contracts(CONTRACTS)["ecommerce"]["customers"]

    assert {column.name for column in customers.columns if column.pii == "direct"} == {
        "first_name", "last_name", "email", "phone", "address", "birth_date",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "place", "problem"),
    [
        ("kind: DataContract", "kind: Contract", "kind", "'Contract' is not one of DataContract."),
        ("apiVersion: v3.1.0", "apiVersion: v2.2.2", "apiVersion", "is not one of v3.0.0"),
        ("version: 1.0.0", "version: 1.0", "version", "Expected text, found 1.0. Put it in quotes."),
        ("dataProduct: ecommerce", "dataProduct: shop", "dataProduct", "Expected 'ecommerce', the name of"),
        (
            "  - name: orders",
            "  - name: purchases",
            "schema[0].name",
            "Expected 'orders', the name of the file.",
        ),
        (
            "ecommerce__orders",
            "orders",
            "schema[0].physicalName",
            "Expected ecommerce__orders, the name of the raw table.",
        ),
        (
            "      - name: customer_id",
            "      - name: order_id",
            "schema[0].properties[1]",
            "Another column has the name 'order_id' already.",
        ),
        (
            "      - name: customer_id",
            "      - name: Customer ID",
            "schema[0].properties[1].name",
            "'Customer ID' cannot be a name.",
        ),
        (
            "        required: true\n",
            "        requried: true\n",
            "schema[0].properties[0]",
            "`requried` is not understood. Did you mean `required`?",
        ),
        (
            "logicalType: string",
            "logicalType: text",
            "schema[0].properties[0].logicalType",
            "'text' is not one of string, integer, number, boolean, date, timestamp.",
        ),
        (
            "physicalType: text",
            "physicalType: varchar(10)",
            "schema[0].properties[0].physicalType",
            "'varchar(10)' is not one of text.",
        ),
        (
            "required: true\n",
            "required: yes please\n",
            "schema[0].properties[0].required",
            "Expected true or false, found 'yes please'.",
        ),
        (
            "primaryKeyPosition: 1\n        required: true",
            "primaryKeyPosition: 1",
            "schema[0].properties[0]",
            "A column of the primary key must be `required: true`.",
        ),
        (
            "        primaryKeyPosition: 1\n",
            "",
            "schema[0].properties[0]",
            "Give each column of the primary key a `primaryKeyPosition`",
        ),
        (
            "multipleOf: 0.01",
            "multipleOf: 0.05",
            "schema[0].properties[6].logicalTypeOptions.multipleOf",
            "Only 1, 0.1, 0.01",
        ),
        (
            "minimum: 0\n",
            "minimum: 0\n          maximum: -1\n",
            "schema[0].properties[6].logicalTypeOptions",
            "`minimum` is greater than `maximum`",
        ),
        (
            "minimum: 0\n",
            "exclusiveMinimum: 0\n",
            "schema[0].properties[6].logicalTypeOptions",
            "`exclusiveMinimum` is not understood.",
        ),
        (
            "'^[A-Z]{3}$'",
            "'[A-Z]{3}'",
            "schema[0].properties[9].logicalTypeOptions.pattern",
            "Begin the pattern",
        ),
        (
            "'^[A-Z]{3}$'",
            "'^[A-Z{3}$'",
            "schema[0].properties[9].logicalTypeOptions.pattern",
            "is not a regular",
        ),
        (
            "validValues: [pending,",
            "validValues: [no,",
            "schema[0].properties[3].quality[0].arguments.validValues[0]",
            "Expected text, found False. Put it in quotes.",
        ),
        (
            "validValues: [pending,",
            "validValues: [delivered,",
            "schema[0].properties[3].quality[0].arguments.validValues",
            "A value stands here twice",
        ),
        (
            "value: updated_at",
            "value: changed_at",
            "schema[0].customProperties[0].value",
            "'changed_at' is not a column of this contract.",
        ),
        (
            "value: updated_at",
            "value: shipped_at",
            "schema[0].customProperties[0].value",
            "shipped_at must be a required column",
        ),
        (
            "value: [orders]",
            "value: [purchases]",
            "schema[0].customProperties[3].value[0]",
            "'purchases' is not one of customers, products, orders, order_items, payments, returns,",
        ),
        (
            "property: touchKeys",
            "property: touchKey",
            "schema[0].customProperties[2].property",
            "`touchKey` is not understood. Did you mean `touchKeys`?",
        ),
        ("value: UTC", "value: Utopia/Nowhere", "customProperties[0].value", "is not an IANA time zone"),
        ("value: USD", "value: dollars", "customProperties[1].value", "is not an ISO 4217 code"),
        ("value: 0.05", "value: 5", "customProperties[4].value", "A share lies between 0 and 1."),
        ("value: 10\n", "value: -1\n", "customProperties[3].value", "Expected a whole number of at least 0"),
        (
            "value: critical",
            "value: fatal",
            "customProperties[5].value",
            "'fatal' is not one of critical, warning.",
        ),
        ("property: freshness", "property: latency", "slaProperties", "There is no `property: freshness`."),
        (
            "    value: 1\n    unit: d",
            "    value: 1\n    unit: h",
            "slaProperties[0].unit",
            "'h' is not one of d",
        ),
        ("{part}.csv", ".csv", "servers[0].path", "with {date} and {part} once each"),
        ('value: ","', 'value: ", "', "servers[0].customProperties[0].value", "Expected one ASCII character"),
        (
            "encoding\n        value: utf-8",
            "encoding\n        value: latin-1",
            "servers[0].customProperties[2].value",
            "",
        ),
        (
            "[none, gzip]",
            "[none, zip]",
            "servers[0].customProperties[3].value",
            "Only none and gzip can be read.",
        ),
        ("format: csv", "format: parquet", "servers[0].format", "'parquet' is not one of csv."),
        ("status: active\n", "", "", "`status` is missing. Add it."),
        ("version: 1.0.0", "version: 1.0", "version", "Expected text, found 1.0."),
        ("version: 1.0.0", "version: v1.0.0", "version", "'v1.0.0' is not a semantic version"),
        (
            "status: active",
            "status: active\nstatus: draft",
            "line 7, column 1",
            "key 'status' stands here twice",
        ),
        ("status: active", "status: [active", "line 7, column 7", "This is not valid YAML"),
        (
            "until then.\n        logicalTypeOptions:\n          format: yyyy-MM-dd HH:mm:ss",
            "until then.\n        logicalTypeOptions:\n          format: dd.MM.yyyy",
            "schema[0].properties[10].logicalTypeOptions.format",
            "'dd.MM.yyyy' is not one of yyyy-MM-dd HH:mm:ss.",
        ),
    ],
)
def test_a_broken_contract_is_refused_with_place_and_remedy(
    tmp_path: Path, old: str, new: str, place: str, problem: str
) -> None:
    file = changed(tmp_path, "orders", (old, new))

    with pytest.raises(ContractError) as raised:
        read_contract(file)

    assert raised.value.file == file
    assert raised.value.place == place
    assert problem in raised.value.problem
    assert str(raised.value).startswith(f"{file}: ")


def test_a_reference_to_no_contract_is_refused(tmp_path: Path) -> None:
    changed(tmp_path, "orders")

    with pytest.raises(ContractError, match=r"customers\.customer_id is not in the contracts of source"):
        read_contracts(tmp_path)


def test_a_source_has_one_currency(tmp_path: Path) -> None:
    changed(tmp_path, "customers")
    changed(tmp_path, "orders", ("value: USD", "value: EUR"))

    with pytest.raises(ContractError, match="currency EUR differs from USD in customers"):
        read_contracts(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="There is no such folder"):
        read_contracts(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("minimum: 0", "minimum: 1"),
        ("multipleOf: 0.01", "multipleOf: 0.001"),
        ("maxLength: 64", "maxLength: 65"),
        ("physicalType: numeric", "physicalName: cost\n        physicalType: numeric"),
        ("validValues: [pending, ", "validValues: ["),
        ('value: ","', 'value: ";"'),
        ("value: 10\n", "value: 11\n"),
        ("value: 0.05", "value: 0.06"),
        ("value: ignore", "value: refuse"),
        ("value: UTC", "value: Europe/London"),
        ("        primaryKey: true\n        primaryKeyPosition: 1\n", ""),
    ],
)
def test_what_decides_about_rows_changes_the_hash(tmp_path: Path, old: str, new: str) -> None:
    before = read_contract(CONTRACTS / "ecommerce" / "orders.odcs.yaml").hash

    assert read_contract(changed(tmp_path, "orders", (old, new))).hash != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1.0.0", "version: 1.0.1"),
        ("description: Currency of the amounts.", "description: The currency."),
        ("validValues: [pending, processing", "validValues: [processing, pending"),
        ("minimum: 0", "minimum: 0.0"),
        ("value: 0.05", "value: 0.050"),
        ("    value: 1\n    unit: d", "    value: 2\n    unit: d"),
        ("value: critical", "value: warning"),
        ("classification: pii-indirect", "classification: pii-direct"),
    ],
)
def test_what_does_not_decide_about_rows_leaves_the_hash(tmp_path: Path, old: str, new: str) -> None:
    before = read_contract(CONTRACTS / "ecommerce" / "orders.odcs.yaml").hash

    assert read_contract(changed(tmp_path, "orders", (old, new))).hash == before
