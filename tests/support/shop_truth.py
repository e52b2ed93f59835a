"""What the warehouse must say, worked out from the files alone: Python's csv module, Decimal, no SQL.

From the database only two things are taken: which version of a path is in effect, and the numbers of the
lines that were rejected.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading.discover import match_path
from ecommerce_dw.settings import PROJECT_DIR
from tests.support.deliveries import Content
from tests.support.shop_life import ShopLife

Row: TypeAlias = dict[str, str]
Amounts: TypeAlias = dict[Any, Decimal]

#: What a mart's amounts are compared in.
MEASURES = (
    "gross_amount", "discount_amount", "cancelled_amount", "refund_amount", "fee_amount",
    "adjustment_amount", "shipping_amount", "tax_amount",
)  # fmt: skip
#: Columns of marts each value of which stands for all sales once more.
WHOLE_BY = frozenset({"period_type", "level", "attribution_model", "dimension"})
#: What of a mart is all sales, where not every row is a part of it.
PARTS = {"seasonal_trends": "dimension <> 'holiday'"}


def records(content: Content) -> Iterator[tuple[int, list[str]]]:
    """The records of a file after its header, as Python's csv module reads them, with their first line."""
    text = content.text.decode("latin-1")  # every byte is a character: bad encodings count, too
    reader = csv.reader(io.StringIO(text, newline=""))
    line = 1
    is_header = True
    for fields in reader:
        first, line = line, reader.line_num + 1
        if not fields:
            continue  # a blank line is no record
        if not is_header:
            yield first, fields
        is_header = False


@dataclass(frozen=True)
class Delivered:
    """A row that counts, with what orders the versions of a key."""

    row: Row
    date: dt.date
    path: str
    line: int

    def place(self, moment: str) -> tuple[str, dt.date, str, int]:
        """Where it stands among the versions of its key: the last one wins."""
        return (self.row[moment], self.date, self.path, self.line)


class Truth:
    """The files in effect of a life.

    Attributes:
        rows: What was loaded, by source and entity.
    """

    def __init__(self, life: ShopLife) -> None:
        self._life = life
        self._contracts = life.database.contracts
        self._rejected: dict[int, set[int]] = defaultdict(set)
        for file_id, line in life.database.query("select file_id, line_number from raw.rejected_rows"):
            self._rejected[file_id].add(line)
        self.rows: dict[tuple[str, str], list[Delivered]] = defaultdict(list)
        for (source, path), (file_id, sha256, date) in life.in_effect().items():
            contract = self._contract_of(source, path)
            names = [column.name for column in contract.columns]
            for line, fields in records(life.contents[sha256]):
                if line in self._rejected[file_id]:
                    continue
                texts = [field.encode("latin-1").decode() for field in fields]
                row = dict(zip(names, texts, strict=True))
                self.rows[source, contract.entity].append(Delivered(row, date, path, line))

    def _contract_of(self, source: str, path: str) -> Contract:
        found = match_path(path, self._contracts[source].values())
        assert found is not None, path
        return found[0]

    # ---- law 1 -----------------------------------------------------------------------------------------

    def losses(self) -> list[str]:
        """Where rows are neither loaded nor rejected nor counted as left out; bad rows that were loaded."""
        found = []
        query = self._life.database.query
        versions = query(
            "select source, path, file_id, sha256, rows_read, rows_loaded, rows_rejected "
            "from raw.load_ledger where status = 'loaded'"
        )
        live = {file_id for file_id, *_ in self._life.in_effect().values()}
        for source, path, file_id, sha256, read, loaded, rejected in versions:
            contract = self._contract_of(source, path)
            content = self._life.contents[sha256]
            count = sum(1 for _ in records(content))
            bad = len(content.bad_at) + _repeated_keys(content, contract)
            kept = len(self._rejected[file_id])
            if not count == read == loaded + rejected or rejected != kept or kept != bad:
                found.append(
                    f"{source}/{path}: {count} records, {bad} of them bad; ledger: {read} read = {loaded} "
                    f"loaded + {rejected} rejected; {kept} in rejected_rows"
                )
            [(there,)] = query(f"select count(*) from raw.{contract.table} where _file_id = %s", (file_id,))
            if there != (loaded if file_id in live else 0):
                found.append(f"{source}/{path}: {there} rows of file {file_id} in raw, {loaded} were loaded")
        return found + list(self._left_out())

    def _left_out(self) -> Iterator[str]:
        """Conformed rows that are neither in the warehouse nor counted in ops.flagged_rows."""
        query = self._life.database.query
        flagged = {
            (source, entity, kind): count
            for source, entity, kind, count in query("select * from ops.flagged_rows")
        }
        for entity, table in query(
            """
            select
                substr(v.relname, 5),
                t.relname || case when t.relname like 'dim%' then ' where not is_inferred' else '' end
            from pg_class as v
            join pg_class as t
                on t.relname in ('dim_' || substr(v.relname, 5), 'fact_' || substr(v.relname, 5))
                and t.relnamespace = 'warehouse'::regnamespace
            where v.relnamespace = 'staging'::regnamespace and v.relkind = 'v' and v.relname like 'stg\\_%'
            order by 1
            """
        ):
            staged = dict(query(f"select source_system, count(*) from staging.stg_{entity} group by 1"))
            kept = dict(query(f"select source_system, count(*) from warehouse.{table} group by 1"))
            for source in staged.keys() | kept.keys():
                counted = sum(
                    count
                    for (flagged_source, flagged_entity, kind), count in flagged.items()
                    if (flagged_source, flagged_entity) == (source, entity)
                    and (kind == "superseded_version" or kind.endswith("_waiting"))
                )
                if staged.get(source, 0) != kept.get(source, 0) + counted:
                    yield (
                        f"{source} {entity}: {staged.get(source, 0)} staged, {kept.get(source, 0)} in the "
                        f"warehouse, {counted} counted as left out"
                    )
        for (source, entity), rows in self.rows.items():
            [(view,)] = query(
                "select coalesce(to_regclass(%s), to_regclass(%s))::text",
                (f"staging.stg_{source}__{entity}", f"staging.base_{source}__{entity}"),
            )
            if view is None:  # its staging model has another name; its raw rows were counted
                continue
            [(count,)] = query(f"select count(*) from {view}")
            if count != len(rows):
                yield f"{source} {entity}: {len(rows)} good rows in the files, {count} in {view}"

    # ---- law 8 -----------------------------------------------------------------------------------------

    def money(self) -> dict[str, dict[str, Amounts]]:
        """Every measure by `day`, `customer` and `product`, keys with their source; zeros left out."""
        found: dict[str, dict[str, Amounts]] = {
            by: {measure: defaultdict(Decimal) for measure in MEASURES}
            for by in ("day", "customer", "product")
        }

        def book(source: str, day: str, customer: str, product: str, measure: str, amount: Decimal) -> None:
            found["day"][measure][source, day] += amount
            if customer:
                found["customer"][measure][source, customer] += amount
            if product:
                found["product"][measure][source, product] += amount

        self._book_ecommerce(book)
        self._book_online_retail(book)
        self._book_sales(book)
        return {
            by: {measure: {k: v for k, v in amounts.items() if v} for measure, amounts in measures.items()}
            for by, measures in found.items()
        }

    def _book_ecommerce(self, book: Any) -> None:
        source = "ecommerce"
        orders = _latest(self.rows[source, "orders"], "order_id", "updated_at")
        cancelled: dict[str, str] = {}
        for version in self.rows[source, "orders"]:
            order_id = version.row["order_id"]
            if version.row["order_status"] == orders[order_id].row["order_status"] == "cancelled":
                moment = version.row["updated_at"]
                cancelled[order_id] = min(cancelled.get(order_id, moment), moment)
        for order in (delivered.row for delivered in orders.values()):
            where = (source, order["order_date"], order["customer_id"], "")
            book(*where, "shipping_amount", Decimal(order["shipping_cost"] or 0))
            book(*where, "tax_amount", Decimal(order["tax_amount"] or 0))
        items = _latest(self.rows[source, "order_items"], "order_item_id", "created_at")
        for delivered in items.values():
            item = delivered.row
            if item["order_id"] not in orders:
                continue
            order = orders[item["order_id"]].row
            gross = int(item["quantity"]) * Decimal(item["unit_price"])
            discount = Decimal(item["discount_amount"] or 0)
            where = (source, order["order_date"], order["customer_id"], item["product_id"])
            book(*where, "gross_amount", gross)
            book(*where, "discount_amount", discount)
            if order["order_id"] in cancelled:
                day = cancelled[order["order_id"]][:10]
                book(source, day, *where[2:], "cancelled_amount", gross - discount)

        for delivered in _latest(self.rows[source, "returns"], "return_id", "returned_at").values():
            back = delivered.row
            item = items[back["order_item_id"]].row if back["order_item_id"] in items else {}
            # the cancellation of an order takes its lines back already
            if item.get("order_id") in orders and item["order_id"] not in cancelled:
                where = (source, back["returned_at"][:10], orders[item["order_id"]].row["customer_id"])
                book(*where, item["product_id"], "refund_amount", Decimal(back["refund_amount"]))

    def _book_online_retail(self, book: Any) -> None:
        source = "online_retail"
        with (PROJECT_DIR / "dbt" / "seeds" / "online_retail_codes.csv").open() as file:
            codes = {row["stock_code"]: row["line_type"] for row in csv.DictReader(file)}
        first: dict[str, Delivered] = {}
        for line in self.rows[source, "lines"]:
            invoice = line.row["invoice_no"]
            if invoice not in first or line.place("invoice_date") < first[invoice].place("invoice_date"):
                first[invoice] = line
        for line in (delivered.row for delivered in self.rows[source, "lines"]):
            order = first[line["invoice_no"]].row
            day, customer = order["invoice_date"][:10], order["customer_id"].split(".")[0]
            amount = int(line["quantity"]) * Decimal(line["unit_price"])
            where = (source, day, customer, line["stock_code"])
            kind = _line_type(line, codes)
            if kind == "sale":
                book(*where, "gross_amount", amount)
            elif kind == "cancellation":
                book(*where, "cancelled_amount", -amount)
            elif kind in ("fee", "adjustment"):
                book(*where, f"{kind}_amount", amount)

    def _book_sales(self, book: Any) -> None:
        """An order is its lines at or above zero; what is given back is one of its own by order and day."""
        source = "sales"
        orders: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for line in (delivered.row for delivered in self.rows[source, "sales"]):
            is_given_back = Decimal(line["line_total"]) < 0
            orders[line["order_id"], line["sale_date"] if is_given_back else ""].append(line)
        for lines in orders.values():
            named = [line for line in lines if line["customer_id"].strip()]
            customers = [(line["sale_date"], line["customer_id"].strip()) for line in named]
            customer = min(customers)[1] if customers else ""
            where = (source, min(line["sale_date"] for line in lines), customer, "")
            for line in lines:
                amount = Decimal(line["line_total"])
                measure = "cancelled_amount" if amount < 0 else "gross_amount"
                book(*where, measure, abs(amount))

    def money_differences(self) -> list[str]:
        """Where a mart's amounts are not those of the files."""
        found = []
        query = self._life.database.query
        truth = self.money()
        for table, key, by in (
            ("sales_summary", "period_start::text", "day"),
            ("customer_summary", "customer_id", "customer"),
            ("product_performance", "product_id", "product"),
        ):
            columns = {
                name for (name,) in query(
                    "select column_name from information_schema.columns "
                    "where table_schema = 'marts' and table_name = %s", (table,)
                )
            }  # fmt: skip
            condition = "period_type = 'day'" if by == "day" else "true"
            for measure in sorted(columns & set(MEASURES)):
                rows = query(
                    f"select source_system, {key}, {measure} from marts.{table} "
                    f"where {condition} and {measure} <> 0"
                )
                shown = {(source, value): amount for source, value, amount in rows}
                if shown != truth[by][measure]:
                    found.append(f"marts.{table}.{measure}: {shown}, in the files {truth[by][measure]}")
        return found + list(self._totals_that_differ(truth))

    def _totals_that_differ(self, truth: Mapping[str, Mapping[str, Amounts]]) -> Iterator[str]:
        """Any mart, a later one too, that shows one of the measures for all sales: their sum by source."""
        query = self._life.database.query
        columns = query(
            """
            select table_name, array_agg(column_name::text)
            from information_schema.columns where table_schema = 'marts' group by 1 order by 1
            """
        )
        for table, names in columns:
            by = "customer" if "customer_id" in names else "product" if "product_id" in names else "day"
            whole = ", ".join(name for name in names if name in WHOLE_BY) or "''"
            condition = PARTS.get(table, "true")
            for measure in sorted(set(names) & set(MEASURES)):
                wanted: Amounts = defaultdict(Decimal)
                for (source, _), amount in truth[by][measure].items():
                    wanted[source] += amount
                rows = query(
                    f"select source_system, {whole}, sum({measure}) from marts.{table} where {condition} "
                    "group by 1, 2"
                )
                for source, part, amount in rows:
                    if amount != wanted[source]:
                        yield (
                            f"marts.{table}.{measure} of {source} {part}: {amount} in sum, "
                            f"{wanted[source]} in the files"
                        )

    # ---- law 9 -----------------------------------------------------------------------------------------

    def wrong_versions(self) -> list[str]:
        """Facts that do not point at the dimension version valid at their time."""
        query = self._life.database.query
        found: list[str] = []
        for fact in ("fact_orders", "fact_order_items"):
            for dimension, key in (("dim_customers", "customer"), ("dim_products", "product")):
                if not query(
                    "select 1 from information_schema.columns where table_schema = 'warehouse' "
                    "and table_name = %s and column_name = %s", (fact, f"{key}_key"),
                ):  # fmt: skip
                    continue
                rows = query(
                    f"select f.source_system, f.{key}_id, f.ordered_at from warehouse.{fact} as f "
                    f"left join warehouse.{dimension} as d on d.{key}_key = f.{key}_key "
                    f"where f.{key}_id is not null and (d.{key}_key is null "
                    f"or d.source_system <> f.source_system or d.{key}_id <> f.{key}_id "
                    "or f.ordered_at < d.valid_from or f.ordered_at >= d.valid_to)"
                )
                found += [f"{fact} at {dimension}: {row}" for row in rows]
        return found + list(self._wrong_attributes())

    def _wrong_attributes(self) -> Iterator[str]:
        """What a fact's version says, against the last version delivered for the moment, or the first."""
        for entity, key, fact, attributes in (
            ("customers", "customer", "fact_orders", ("customer_segment", "gender")),
            ("products", "product", "fact_order_items", ("cost", "price")),
        ):
            histories: dict[str, list[Delivered]] = defaultdict(list)
            for version in self.rows["ecommerce", entity]:
                histories[version.row[f"{key}_id"]].append(version)
            names = ", ".join(f"d.{name}" for name in attributes)
            rows = self._life.database.query(
                f"select f.{key}_id, to_char(f.ordered_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS'), "
                f"d.is_inferred, {names} "
                f"from warehouse.{fact} as f join warehouse.dim_{entity} as d using ({key}_key) "
                "where f.source_system = 'ecommerce'"
            )
            for identifier, moment, is_inferred, *shown in rows:
                history = sorted(histories.get(identifier, ()), key=lambda v: v.place("updated_at"))
                if not history:
                    if not is_inferred:
                        yield f"{key} {identifier} was never delivered and is not inferred"
                    continue
                # versions of one moment: the last delivered
                first = [v for v in history if v.row["updated_at"] == history[0].row["updated_at"]][-1]
                valid = [v for v in history if v.row["updated_at"] <= moment] or [first]
                wanted = [valid[-1].row[name] for name in attributes]
                if [_same(value) for value in shown] != [_same(value) for value in wanted]:
                    yield f"{fact} of {key} {identifier} at {moment}: {shown}, delivered was {wanted}"


def _same(value: Any) -> Any:
    """Texts, numbers and nothing, comparable."""
    if value is None or value == "":
        return None
    try:
        return Decimal(value)
    except ArithmeticError:
        return str(value)


def _latest(rows: list[Delivered], key: str, moment: str) -> dict[str, Delivered]:
    found: dict[str, Delivered] = {}
    for row in sorted(rows, key=lambda row: row.place(moment)):
        found[row.row[key]] = row
    return found


def _line_type(line: Row, codes: Mapping[str, str]) -> str:
    price, invoice = Decimal(line["unit_price"]), line["invoice_no"]
    if price == 0:
        return "zero_priced"
    if price < 0 or invoice.startswith("A"):
        return "adjustment"
    if line["stock_code"] in codes:
        return codes[line["stock_code"]]
    if invoice.startswith("C"):
        return "cancellation"
    return "adjustment" if int(line["quantity"]) < 0 else "sale"


def _repeated_keys(content: Content, contract: Contract) -> int:
    """Good records whose key a later good record of the file has, too."""
    names = [column.name for column in contract.columns]
    positions = [names.index(name) for name in contract.primary_key]
    if not positions:
        return 0
    lines = [fields for line, fields in records(content) if line not in content.bad_at]
    keys = Counter(tuple(fields[position] for position in positions) for fields in lines)
    return sum(count - 1 for count in keys.values())
