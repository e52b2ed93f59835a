"""Checkpoint raw: what no single file can show, derived from the contracts.

A file's own rules (types, required, ranges, keys within the file) are the loader's; here is what needs the
ledger, several files, or history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ecommerce_dw.loading.ledger import in_effect
from ecommerce_dw.quality.model import Expectation, Scope, Suite, no_rows

if TYPE_CHECKING:
    from ecommerce_dw.contracts.model import Contract

#: Expectations about refused files. Each file has an incident of its own, so these alert nobody, and a
#: refused file is settled by its path, not by accepting these.
REFUSALS = ("load_ledger.no file is refused", "load_ledger.no tolerated file is refused")

#: Days a row may wait for what it points at before somebody is told, and after which nobody is told any more.
PATIENCE_DAYS, FORGET_DAYS = 3, 30
#: Share of a day's money that may differ between orders and lines (which stops the run) or payments.
MONEY_TOLERANCE = "0.01"

_REFUSED_REMEDY = (
    "Send a corrected file under the same path, or settle it: `ecommerce-dw accept PATH` (takes it although "
    "too many rows fail; never a wrong header) or `ecommerce-dw discard PATH` (leaves it out). Then run the "
    "day again."
)
_FILE_REMEDY = (
    "Ask the producer for a corrected file under the same path (it replaces the earlier rows), or accept "
    "with `ecommerce-dw accept --expectation NAME`. Then run the day again."
)
_LOOK_REMEDY = (
    "The run goes on. Ask the producer whether this is meant; a corrected file under the same path replaces "
    "the rows."
)


def suites(
    scope: Scope, contracts: Mapping[str, Mapping[str, Contract]], tables: Sequence[str]
) -> tuple[Suite, ...]:
    """The suites of checkpoint raw.

    Args:
        scope: What to look at.
        contracts: Source → entity → contract.
        tables: Names of the raw tables that exist.
    """
    known = [
        contract
        for entities in contracts.values()
        for contract in entities.values()
        if contract.table in tables
    ]
    return (
        _ledger(scope, [c for entities in contracts.values() for c in entities.values()], known),
        *(suite for contract in known if (suite := _table(scope, contract, contracts[contract.source]))),
    )


def _touched_files(scope: Scope, alias: str = "") -> str:
    column = f"{alias}." if alias else ""
    return f"{column}load_id > {scope.since} and {column}load_id <= {scope.upto}"


# ---- the ledger ------------------------------------------------------------------------------------------


def _ledger(scope: Scope, contracts: Sequence[Contract], tables: Sequence[Contract]) -> Suite:
    severities = ", ".join(
        f"({_text(c.source)}, {_text(c.entity)}, {_text(c.refusal_severity)})" for c in contracts
    )
    tolerated = (
        "exists (select from (values " + severities + ") as c (source, entity, severity) "
        "where c.source = b.source and c.entity = b.entity and c.severity = 'warning')"
        if contracts
        else "false"
    )
    refused = """
        select b.source, b.entity, b.business_date, b.path, b.rows_read, b.rows_rejected, b.message
        from batch as b
        where b.is_current and b.status = 'refused' and {condition}
        order by b.business_date, b.path
    """
    expectations = [
        no_rows(
            REFUSALS[0],
            refused.format(condition=f"not {tolerated}"),
            severity="critical",
            meaning="A file that its contract calls critical was refused: none of its rows are loaded.",
            remedy=_REFUSED_REMEDY,
            is_acceptable=False,
        ),
        no_rows(
            REFUSALS[1],
            refused.format(condition=tolerated),
            severity="warning",
            meaning="A file was refused; its contract lets the run go on without it.",
            remedy=_REFUSED_REMEDY,
            is_acceptable=False,
        ),
        no_rows(
            "load_ledger.rejected rows are settled",
            """
            select
                b.source,
                b.entity,
                b.business_date,
                b.path,
                count(*) as rejected_rows,
                round(count(*)::numeric / nullif(b.rows_read, 0), 6) as rejected_share,
                min(r.line_number) as first_line,
                min(r.reasons[1]) as a_reason
            from batch as b
            join raw.rejected_rows as r using (file_id)
            where b.is_in_effect and r.resolved_by is null
            group by b.source, b.entity, b.business_date, b.path, b.rows_read
            order by rejected_rows desc, b.path
            """,
            severity="warning",
            meaning="Rows of loaded files were rejected: the rest of each file is in, these rows are not.",
            remedy="`ecommerce-dw rejects` lists them; export them, correct them and drop them in as an "
            "additional part of their day (`<entity>.fix-001.csv`), which settles them.",
        ),
        no_rows(
            "load_ledger.row counts are like the same weekday's",
            _VOLUME,
            severity="warning",
            meaning="A day has less than a third or more than three times the rows usual for its weekday.",
            remedy=_LOOK_REMEDY,
        ),
        no_rows(
            "load_ledger.every entity of a source has its file",
            _MISSING_ENTITY.format(
                known=", ".join(f"({_text(c.source)}, {_text(c.entity)})" for c in contracts)
                or "(null::text, null::text)"
            ),
            severity="warning",
            meaning="Other files of the source came for this day; this entity's did not, as it usually does.",
            remedy="The run goes on; the next run picks the file up when it comes. If it does not come, ask "
            "the producer for it.",
        ),
        no_rows(
            "load_ledger.no day of a source is missing",
            _MISSING_DAY.format(
                daily=", ".join(
                    sorted({_text(c.source) for c in contracts if c.max_staleness_days is not None})
                )
                or "null"
            ),
            severity="warning",
            meaning="Later days of a source came, this day did not: no file of any of its entities, although "
            "the contracts promise one for every day.",
            remedy="The run goes on; the next run picks the day up when it comes. If it does not come, ask "
            "the producer for it.",
        ),
    ]
    for source in sorted({contract.source for contract in contracts}):
        expectations.append(_columns(source, [c for c in contracts if c.source == source]))
    if tables:
        counts = "\n            union all\n            ".join(
            f"select r._file_id as file_id, count(*) as rows_there from raw.{c.table} as r "
            f"where r._file_id in (select b.file_id from batch as b where b.source = {_text(c.source)} "
            f"and b.entity = {_text(c.entity)}) group by r._file_id"
            for c in tables
        )
        expectations.append(
            no_rows(
                "load_ledger.rows_loaded is what the tables hold",
                f"""
                select
                    b.source,
                    b.entity,
                    b.business_date,
                    b.path,
                    b.version,
                    b.status,
                    case when b.is_in_effect then b.rows_loaded else 0 end as expected_rows,
                    coalesce(c.rows_there, 0) as rows_there
                from batch as b
                left join ({counts}) as c using (file_id)
                where
                    b.status <> 'loading'
                    and coalesce(c.rows_there, 0)
                    <> case when b.is_in_effect then b.rows_loaded else 0 end
                order by b.path, b.version
                """,
                severity="critical",
                meaning="The raw tables do not hold the rows that the ledger says were loaded.",
                remedy="Somebody changed raw by hand, or the loader is broken. `ecommerce-dw withdraw PATH`, "
                "then `ecommerce-dw load` loads the file anew; run the day again.",
            )
        )
    # Touched files with the earlier versions of their paths, and what is refused, whenever that was.
    batch = f"""
        select l.*, {_touched_files(scope, "l")} as is_touched, {in_effect("l")} as is_in_effect
        from raw.load_ledger as l
        where
            (l.is_current and l.status = 'refused')
            or exists (
                select from raw.load_ledger as t
                where t.source = l.source and t.path = l.path and {_touched_files(scope, "t")}
            )
    """
    return Suite("load_ledger", batch.strip(), tuple(expectations))


def _columns(source: str, contracts: Sequence[Contract]) -> Expectation:
    """The headers of a source's files: a name that no contract knows, or a column that was there before."""
    known = ", ".join(f"({_text(c.entity)}, {_text(k.header)})" for c in contracts for k in c.columns)
    layouts = ", ".join(
        f"({_text(c.entity)}, {_text(_field_expression(c))}, {_text(c.layout.quote)})" for c in contracts
    )
    return no_rows(
        f"load_ledger.columns of {source} are those of its contracts",
        f"""
        with files as (
            select
                l.file_id, l.entity, l.path, l.business_date, l.header,
                lag(l.header) over (
                    partition by l.entity, l.part is null
                    order by l.business_date, l.path collate "C"
                ) as header_before
            from raw.load_ledger as l
            where l.source = {_text(source)} and l.header is not null and {in_effect("l")}
        ),
        shapes as (
            select
                f.entity, f.header, f.header_before, count(*) as files, min(f.business_date) as first_date,
                min(f.path) as a_path
            from files as f
            where f.file_id in (select b.file_id from batch as b where b.is_touched)
            group by f.entity, f.header, f.header_before
        ),
        known (entity, name) as (values {known}),
        layouts (entity, field, quote) as (values {layouts}),
        headers as (
            select s.entity, s.header from shapes as s
            union
            select s.entity, s.header_before from shapes as s where s.header_before is not null
        ),
        names as (
            select
                h.entity, h.header,
                btrim(replace(
                    case
                        when left(n.name, 1) = y.quote then substr(n.name, 2, length(n.name) - 2)
                        else n.name
                    end,
                    y.quote || y.quote, y.quote
                )) as name
            from headers as h
            join layouts as y on y.entity = h.entity
            cross join lateral regexp_matches(
                rtrim(convert_from(h.header, 'UTF8'), e'\r\n'), y.field, 'g'
            ) as found
            cross join lateral (select btrim(found[1]) as name) as n
        )
        select s.entity, n.name as column_name, 'not in the contract' as what, s.files, s.first_date, s.a_path
        from shapes as s
        join names as n on n.entity = s.entity and n.header = s.header
        where
            n.name <> ''
            and not exists (select from known as k where k.entity = n.entity and k.name = n.name)
        union all
        select s.entity, k.name as column_name, 'gone' as what, s.files, s.first_date, s.a_path
        from shapes as s
        join names as b on b.entity = s.entity and b.header = s.header_before
        join known as k on k.entity = b.entity and k.name = b.name
        where
            s.header <> s.header_before
            and not exists (
                select from names as n where n.entity = s.entity and n.header = s.header and n.name = k.name
            )
        order by first_date, entity, what, column_name
        """,
        severity="warning",
        meaning="Files have a column that their contract does not know (its values are left out), or lack "
        "one that the file before had (it is null).",
        remedy="`ecommerce-dw contracts diff FILE` shows what changed and proposes the contract's next "
        "version. Ask the producer whether it is meant.",
    )


def _field_expression(contract: Contract) -> str:
    """A field of a header with what ends it, as a regular expression of PostgreSQL."""
    delimiter, quote = (f"\\{c}" for c in (contract.layout.delimiter, contract.layout.quote))
    return f"(\\s*{quote}(?:[^{quote}]|{quote}{quote})*{quote}\\s*|[^{delimiter}]*)(?:{delimiter}|$)"


#: The newest touched week only: nobody acts on the volume of a day two years ago.
_RECENT = f"""
    newest as (
        select b.source, max(b.business_date) as business_date
        from batch as b
        where b.is_touched and b.is_in_effect
        group by b.source
    ),
    days as (
        select
            l.source,
            l.entity,
            l.business_date,
            sum(l.rows_read) as row_count,
            bool_or(l.file_id in (select b.file_id from batch as b where b.is_touched)) as is_touched
        from raw.load_ledger as l
        where {in_effect("l")}
        group by l.source, l.entity, l.business_date
    ),
    recent as (
        select d.*
        from days as d
        join newest as n on n.source = d.source and d.business_date > n.business_date - 7
        where d.is_touched
    )
"""

_VOLUME = f"""
    with {_RECENT},
    compared as (
        select
            r.source,
            r.entity,
            r.business_date,
            r.row_count,
            (
                select percentile_cont(0.5) within group (order by h.row_count)
                from days as h
                where
                    h.source = r.source and h.entity = r.entity
                    and h.business_date between r.business_date - 56 and r.business_date - 7
                    and extract(isodow from h.business_date) = extract(isodow from r.business_date)
                having count(*) >= 4
            ) as usual_count
        from recent as r
    )
    select source, entity, business_date, row_count, usual_count
    from compared
    where
        (row_count < usual_count / 3 or row_count > usual_count * 3)
        -- a handful of rows more or less says nothing
        and abs(row_count - usual_count) >= 20
    order by business_date desc, source, entity
"""

_MISSING_ENTITY = f"""
    with {_RECENT},
    source_days as (
        select distinct r.source, r.business_date from recent as r
    ),
    entities as (
        select d.source, d.entity, max(d.business_date) as last_delivered
        from days as d
        join (values {{known}}) as c (source, entity) using (source, entity)
        group by d.source, d.entity
    )
    select
        s.source,
        e.entity,
        s.business_date,
        e.last_delivered
    from source_days as s
    join entities as e on e.source = s.source
    where
        not exists (
            select from raw.load_ledger as l
            where
                l.source = e.source and l.entity = e.entity and l.business_date = s.business_date
                and l.is_current
        )
        -- it used to come daily: on at least five of the source's seven days up to its last one
        and (
            select count(*)
            from days as d
            where
                d.source = e.source and d.entity = e.entity
                and d.business_date in (
                    select distinct p.business_date from days as p
                    where p.source = e.source and p.business_date <= e.last_delivered
                    order by p.business_date desc
                    limit 7
                )
        ) >= 5
    order by s.business_date desc, s.source, e.entity
"""

_MISSING_DAY = f"""
    with newest as (
        select b.source, max(b.business_date) as business_date
        from batch as b
        where b.is_touched and b.is_in_effect and b.source in ({{daily}})
        group by b.source
    ),
    oldest as (
        select l.source, min(l.business_date) as business_date
        from raw.load_ledger as l
        where {in_effect("l")}
        group by l.source
    )
    select n.source, d.day::date as business_date, n.business_date as newest_date
    from newest as n
    join oldest as o on o.source = n.source
    cross join generate_series(
        greatest(n.business_date - 6, o.business_date)::timestamp,
        (n.business_date - 1)::timestamp,
        interval '1 day'
    ) as d (day)
    where not exists (
        select from raw.load_ledger as l
        where l.source = n.source and l.business_date = d.day::date and l.is_current
    )
    order by d.day desc, n.source
"""


# ---- the raw tables --------------------------------------------------------------------------------------


def _table(scope: Scope, contract: Contract, siblings: Mapping[str, Contract]) -> Suite | None:
    expectations = [
        *_versions(scope, contract),
        *_references(contract, siblings),
        *_money(scope, contract, siblings),
        *_payments(contract, siblings),
    ]
    if not expectations:
        return None
    files = ""
    if not scope.is_full:
        touched = f"select l.file_id from raw.load_ledger as l where {_touched_files(scope, 'l')}"
        files = f" where r._file_id in ({touched})"
    return Suite(contract.table, f"select r.* from raw.{contract.table} as r{files}", tuple(expectations))


def _versions(scope: Scope, contract: Contract) -> Iterator[Expectation]:
    """What the versions of one key, delivered in several files, have to agree on."""
    if not contract.primary_key:
        return
    table, key, order = contract.table, contract.primary_key, contract.ordering_column
    key_list = ", ".join(f"r.{column}" for column in key)
    same_key = " and ".join(f"t.{column} = r.{column}" for column in key)
    # Few keys come in several files, and of them alone the rows are compared: an entity may be large.
    touched = "" if scope.is_full else f"where exists (select from batch as t where {same_key})"
    repeated = f"""
            with repeated as (
                select {key_list} from raw.{table} as r
                {touched}
                group by {key_list}
                having count(*) > 1
            )
    """.strip()
    versions = f"raw.{table} as r join repeated as t on {same_key}"
    others = [c.name for c in contract.columns if c.name not in (*key, order)]
    if others:
        values = ", ".join(f"r.{column}" for column in others)
        moment = f"{key_list}, r.{order}" if order else key_list
        yield no_rows(
            f"{table}.versions of the same moment agree" if order else f"{table}.versions agree",
            f"""
            {repeated}
            select {moment}, count(distinct row({values})) as contents, count(*) as deliveries
            from {versions}
            group by {moment}
            having count(distinct row({values})) > 1
            order by {key_list}
            """,
            severity="warning",
            meaning=f"Two files hold the same {', '.join((*key, order) if order else key)} with different "
            "contents; the later file, by business date and path, wins.",
            remedy=_LOOK_REMEDY,
        )
    for column in contract.touch_keys:
        if column in key:
            continue
        yield no_rows(
            f"{table}.{column} never changes",
            f"""
            {repeated}
            select {key_list}, count(distinct r.{column}) as different_values,
                min(r.{column}) as one_value, max(r.{column}) as another_value
            from {versions}
            group by {key_list}
            having count(distinct r.{column}) > 1
            order by {key_list}
            """,
            severity="warning",
            meaning=f"The versions of one {', '.join(key)} name different {column}s; the latest wins.",
            remedy=_LOOK_REMEDY,
        )


def _references(contract: Contract, siblings: Mapping[str, Contract]) -> Iterator[Expectation]:
    """Late is normal (the warehouse waits, or infers a member); late for days is not."""
    for column in contract.columns:
        if column.references is None or column.references[0] not in siblings:
            continue
        entity, key = column.references
        target = siblings[entity]
        yield no_rows(
            f"{contract.table}.{column.name} is delivered within {PATIENCE_DAYS} days",
            f"""
            with newest as (
                select max(l.business_date) as business_date
                from raw.load_ledger as l
                where l.source = {_text(contract.source)} and {in_effect("l")}
            )
            select r.{column.name}, count(*) as row_count, min(l.business_date) as waiting_since
            from newest as n
            join raw.load_ledger as l
                on l.business_date >= n.business_date - {FORGET_DAYS}
                and l.business_date <= n.business_date - {PATIENCE_DAYS}
            join raw.{contract.table} as r on r._file_id = l.file_id
            where
                l.source = {_text(contract.source)} and l.entity = {_text(contract.entity)}
                and {in_effect("l")} and r.{column.name} is not null
                and not exists (select from raw.{target.table} as t where t.{key} = r.{column.name})
            group by r.{column.name}
            order by waiting_since, r.{column.name}
            """,
            severity="warning",
            meaning=f"Rows of {contract.table} name a {column.name} that {target.table} still lacks after "
            f"{PATIENCE_DAYS} days. They wait or point at an inferred member (see ops.flagged_rows).",
            remedy=f"The run goes on. Ask the producer for the missing {entity}; they take their place "
            "whenever they come.",
        )


def _money(scope: Scope, lines: Contract, siblings: Mapping[str, Contract]) -> Iterator[Expectation]:
    """Money of lines against themselves and against the totals of the orders they point at."""
    columns = {column.name for column in lines.columns}
    table = lines.table
    if {"quantity", "unit_price", "discount_amount", "line_total"} <= columns:
        yield no_rows(
            f"{table}.line_total is quantity * unit_price - discount_amount",
            """
            select l.business_date, l.path, r._line_number as line_number, r.quantity, r.unit_price,
                r.discount_amount, r.line_total,
                r.quantity * r.unit_price - coalesce(r.discount_amount, 0) as expected
            from batch as r
            join raw.load_ledger as l on l.file_id = r._file_id
            where abs(r.line_total - (r.quantity * r.unit_price - coalesce(r.discount_amount, 0))) > 0.005
            order by l.business_date, l.path, r._line_number
            """,
            severity="warning",
            meaning="A line's total is not what its quantity, price and discount give.",
            remedy=_LOOK_REMEDY,
        )
    orders, join_column, key_column = _referenced_orders(lines, siblings)
    if orders is None or "line_total" not in columns or not lines.primary_key:
        return
    key_type = next(c.type for c in orders.columns if c.name == key_column)
    latest_order = _newest_first("o", orders)
    latest_line = _newest_first("r", lines)
    line_key = ", ".join(f"r.{column}" for column in lines.primary_key)
    # Orders whose lines are all there: one that lost a line to a rejection is flagged as incomplete, one
    # without any line waits for its file.
    compared = f"""
        with touched as (
            select b.{join_column} as order_key from batch as b
            union
            select o.{key_column} from raw.{orders.table} as o
            join raw.load_ledger as l on l.file_id = o._file_id
            where {_touched_files(scope, "l")}
            union
            select (k.keys ->> {_text(join_column)})::{key_type} from raw.removed_keys as k
            where k.source = {_text(lines.source)}
                and k.entity in ({_text(lines.entity)}, {_text(orders.entity)})
                and {_touched_files(scope, "k")}
        ),
        order_totals as (
            select distinct on (o.{key_column})
                o.{key_column} as order_key,
                o.total_amount - coalesce(o.shipping_cost, 0) - coalesce(o.tax_amount, 0) as goods_amount
            from raw.{orders.table} as o
            join raw.load_ledger as l on l.file_id = o._file_id
            where o.{key_column} in (select t.order_key from touched as t)
            order by o.{key_column}, {latest_order}
        ),
        latest_lines as (
            select distinct on ({line_key}) r.{join_column} as order_key, r.line_total, l.business_date
            from raw.{table} as r
            join raw.load_ledger as l on l.file_id = r._file_id
            where r.{join_column} in (select t.order_key from touched as t)
            order by {line_key}, {latest_line}
        ),
        line_totals as (
            select order_key, min(business_date) as business_date, sum(line_total) as lines_amount
            from latest_lines
            group by order_key
        ),
        compared as (
            select n.business_date, o.order_key, o.goods_amount, n.lines_amount
            from order_totals as o
            join line_totals as n using (order_key)
            where not exists (
                select from raw.rejected_rows as j
                join raw.load_ledger as l on l.file_id = j.file_id
                where j.source = {_text(lines.source)} and j.entity = {_text(lines.entity)}
                    and j.resolved_by is null and j.keys ->> {_text(join_column)} = o.order_key::text
                    -- a refused file took no line from anything
                    and {in_effect("l")}
            )
        ),
        days as (
            select
                business_date,
                sum(goods_amount) as goods_amount,
                sum(lines_amount) as lines_amount,
                abs(sum(goods_amount) - sum(lines_amount))
                > {MONEY_TOLERANCE} * greatest(abs(sum(goods_amount)), abs(sum(lines_amount))) as is_off
            from compared
            group by business_date
        )
    """
    yield no_rows(
        f"{table}.a day's lines add up to its orders",
        f"""
        {compared}
        select business_date, goods_amount as orders_say, lines_amount as lines_say,
            lines_amount - goods_amount as difference
        from days
        where is_off
        order by business_date
        """,
        severity="critical",
        meaning="The lines of a day and the totals of their orders differ by more than 1 %: part of a file "
        "is missing, doubled, or in another unit.",
        remedy=_FILE_REMEDY,
    )
    yield no_rows(
        f"{table}.an order's lines add up to its total",
        f"""
        {compared}
        select c.business_date, c.order_key as {key_column}, c.goods_amount as order_says,
            c.lines_amount as lines_say, c.lines_amount - c.goods_amount as difference
        from compared as c
        join days as d using (business_date)
        where not d.is_off and abs(c.goods_amount - c.lines_amount) > 0.005
        order by c.business_date, c.order_key
        """,
        severity="warning",
        meaning="An order's total is not the sum of its lines, shipping and tax. The lines count.",
        remedy=_LOOK_REMEDY,
    )


def _payments(payments: Contract, siblings: Mapping[str, Contract]) -> Iterator[Expectation]:
    """Money of captured payments against the totals of the orders they pay."""
    orders, join_column, key_column = _referenced_orders(payments, siblings)
    by_name = {column.name: column for column in payments.columns}
    if (
        orders is None
        or "amount" not in by_name
        or "status" not in by_name
        or "captured" not in by_name["status"].allowed_values
    ):
        return
    payment_key = ", ".join(f"r.{column}" for column in payments.primary_key)
    yield no_rows(
        f"{payments.table}.a day's captured payments add up to their orders",
        f"""
        with touched as (
            select distinct b.{join_column} as order_key from batch as b
        ),
        order_totals as (
            select distinct on (o.{key_column}) o.{key_column} as order_key, o.total_amount
            from raw.{orders.table} as o
            join raw.load_ledger as l on l.file_id = o._file_id
            where o.{key_column} in (select t.order_key from touched as t)
            order by o.{key_column}, {_newest_first("o", orders)}
        ),
        latest_payments as (
            select distinct on ({payment_key})
                r.{join_column} as order_key, r.amount, r.status, l.business_date
            from raw.{payments.table} as r
            join raw.load_ledger as l on l.file_id = r._file_id
            where r.{join_column} in (select t.order_key from touched as t)
            order by {payment_key}, {_newest_first("r", payments)}
        ),
        captured as (
            select order_key, min(business_date) as business_date, sum(amount) as captured_amount
            from latest_payments
            where status = 'captured'
            group by order_key
        )
        select c.business_date, sum(o.total_amount) as orders_say, sum(c.captured_amount) as payments_say,
            sum(c.captured_amount) - sum(o.total_amount) as difference
        from captured as c
        join order_totals as o using (order_key)
        group by c.business_date
        having abs(sum(c.captured_amount) - sum(o.total_amount)) > {MONEY_TOLERANCE} * sum(o.total_amount)
        order by c.business_date
        """,
        severity="warning",
        meaning="The captured payments of a day and the totals of the orders they pay differ by more than "
        "1 %: payments are doubled, or in another unit.",
        remedy="The run goes on, sales count by their lines. Ask the producer; a corrected file under the "
        "same path replaces the rows.",
    )


def _referenced_orders(lines: Contract, siblings: Mapping[str, Contract]) -> tuple[Contract | None, str, str]:
    """The contract with order totals that these lines point at, the pointing and the pointed-at column."""
    for column in lines.columns:
        if column.references is None:
            continue
        entity, key = column.references
        target = siblings.get(entity)
        if target and {"total_amount", "shipping_cost", "tax_amount"} <= {c.name for c in target.columns}:
            return target, column.name, key
    return None, "", ""


def _newest_first(alias: str, contract: Contract) -> str:
    order = f"{alias}.{contract.ordering_column} desc, " if contract.ordering_column else ""
    return f'{order}l.business_date desc, l.path collate "C" desc, {alias}._line_number desc'


def _text(value: str) -> str:
    quoted = value.replace("'", "''")
    return f"'{quoted}'"
