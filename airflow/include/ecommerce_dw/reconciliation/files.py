"""From the files to raw, and from raw to staging."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg2.extensions
from psycopg2.extras import execute_values

from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading.ddl import quote_text
from ecommerce_dw.loading.landing import landing_of
from ecommerce_dw.loading.ledger import in_effect
from ecommerce_dw.reconciliation.amounts import KIND, landed_amounts, rejected_amounts
from ecommerce_dw.reconciliation.comparison import Comparisons, Step, on_days
from ecommerce_dw.reconciliation.measures import ROWS, grain, measures_of, raw_sql, terms_of
from ecommerce_dw.reconciliation.plan import WAREHOUSE_KEYS, Days
from ecommerce_dw.settings import Settings


def prepare(cursor: psycopg2.extensions.cursor) -> None:
    """Temporary tables: the ledger with what is in effect, and amounts by file and measure."""
    cursor.execute(
        f"""
        create temporary table files on commit drop as
        select l.file_id, l.source, l.entity, l.business_date, l.path, l.version, l.is_current, l.status,
            l.sha256, l.load_id, l.rows_read, l.rows_loaded, {in_effect("l")} as is_live
        from raw.load_ledger as l;
        create index on pg_temp.files (file_id);
        analyze pg_temp.files;
        -- what raw holds, what was rejected, and what lies in the landing zone, where it was read again
        create temporary table held (file_id bigint, measure text, value numeric) on commit drop;
        create temporary table rejected (
            file_id bigint, measure text, name text, value numeric, row_count bigint
        ) on commit drop;
        create temporary table landed (file_id bigint, measure text, value numeric) on commit drop
        """
    )


def compare_file_to_raw(
    comparisons: Comparisons, contract: Contract, days: Days, *, settings: Settings, reads_files: bool
) -> None:
    """Records and amounts of the files of a contract against its raw table.

    The file's side is what the loader counted while it streamed (`rows_read`); its amounts are what was
    loaded and, from their text, what was rejected. With `reads_files` both are read from the files' bytes.
    """
    cursor = comparisons.cursor
    measures = measures_of(contract)
    cursor.execute(
        f"""
        select file_id, is_live, is_current, path, sha256 from pg_temp.files
        where source = {quote_text(contract.source)} and entity = {quote_text(contract.entity)}
            and {on_days("business_date", days)}
        """
    )
    files = cursor.fetchall()
    file_ids = [file_id for file_id, *_ in files]
    _hold(cursor, contract, None if days is None else file_ids)
    loaded = [file_id for file_id, is_live, is_current, *_ in files if is_live and is_current]
    cursor.execute(
        f"""
        insert into pg_temp.rejected
        select r.file_id, '{ROWS}', {KIND}, count(*), count(*)
        from raw.rejected_rows as r
        where r.file_id = any(%s)
        group by 1, 3
        """,
        (loaded,),
    )
    if measures:
        terms = {measure.name: terms_of(contract, measure) for measure in measures}
        rows = rejected_amounts(cursor, contract, terms, loaded)
        execute_values(cursor, "insert into pg_temp.rejected values %s", rows, page_size=1000)
    if reads_files:
        landing = landing_of(settings, contract.source)
        terms = {measure.name: terms_of(contract, measure) for measure in measures}
        for file_id, _, is_current, path, sha256 in files:
            sums = landed_amounts(contract, landing.at(path), sha256, terms) if is_current else None
            if sums is not None:
                execute_values(
                    cursor,
                    "insert into pg_temp.landed values %s",
                    [(file_id, measure, value) for measure, value in sums.items()],
                )
    names = ", ".join(f"({quote_text(name)})" for name in (ROWS, *(measure.name for measure in measures)))
    comparisons.add(
        Step(
            contract.source,
            contract.entity,
            "file",
            "raw",
            contract.layout.pattern,
            f"raw.{contract.table}",
            days,
        ),
        f"""
        with files as (
            select
                f.file_id,
                f.business_date,
                f.is_live,
                f.is_current,
                f.status,
                f.rows_loaded,
                -- the bytes of a withdrawn file were read as the version before
                case when f.status = 'withdrawn' then coalesce((
                    select b.rows_read from pg_temp.files as b
                    where b.source = f.source and b.path = f.path and b.version < f.version
                        and b.rows_read > 0
                    order by b.version desc limit 1
                ), 0) else f.rows_read end as rows_read
            from pg_temp.files as f
            where f.source = {quote_text(contract.source)} and f.entity = {quote_text(contract.entity)}
                and {on_days("f.business_date", days)}
        ),

        rejections as (
            select file_id, measure, sum(value) as value from pg_temp.rejected group by file_id, measure
        ),

        base as (
            select
                f.*,
                m.measure,
                coalesce(h.value, 0) as held,
                coalesce(r.value, 0) as rejected,
                l.value as landed
            from files as f
            cross join (values {names}) as m (measure)
            left join pg_temp.held as h on h.file_id = f.file_id and h.measure = m.measure
            left join rejections as r on r.file_id = f.file_id and r.measure = m.measure
            left join pg_temp.landed as l on l.file_id = f.file_id and l.measure = m.measure
        ),

        loaded as (
            select
                *,
                coalesce(landed, case when measure = '{ROWS}' then rows_read else held + rejected end)
                - rejected as delivered
            from base
            where is_live and is_current
        )

        select business_date as day, measure, null as name, delivered, delivered as expected, held as actual,
            0 as row_count, (delivered <> held)::integer as wrong
        from loaded
        union all
        select f.business_date, r.measure, r.name, r.value, 0, 0, r.row_count, 0
        from files as f
        join pg_temp.rejected as r on r.file_id = f.file_id
        union all
        select business_date, measure, status || '_file',
            coalesce(landed, case when measure = '{ROWS}' then rows_read else 0 end), 0, 0, rows_read, 0
        from base
        where is_current and status in ('refused', 'discarded', 'withdrawn')
        union all
        select business_date, measure, 'earlier_version_kept', 0,
            case when measure = '{ROWS}' then rows_loaded else held end, held, rows_loaded,
            (measure = '{ROWS}' and rows_loaded <> held)::integer
        from base
        where is_live and not is_current
        union all
        -- rows that no file in effect brought
        select f.business_date, h.measure, null, 0, 0, h.value, 0, 1
        from pg_temp.held_now as h
        left join pg_temp.files as f on f.file_id = h.file_id
        where (f.is_live is null or not f.is_live) and h.value <> 0
        """,
    )


def _hold(cursor: psycopg2.extensions.cursor, contract: Contract, file_ids: Sequence[int] | None) -> None:
    """Count and add up what the raw table holds, by file; the files are in `held_now`, too."""
    measures = measures_of(contract)
    sums = "".join(f", sum({raw_sql(contract, measure)}) as m{n}" for n, measure in enumerate(measures))
    values = ", ".join(
        [
            f"('{ROWS}', t.row_count::numeric)",
            *(f"({quote_text(m.name)}, t.m{n})" for n, m in enumerate(measures)),
        ]
    )
    where = "" if file_ids is None else f"where _file_id = any({bigint_array(file_ids)})"
    cursor.execute(
        f"""
        drop table if exists pg_temp.held_now;
        create temporary table held_now on commit drop as
        select t.file_id, v.measure, v.value
        from (
            select _file_id as file_id, count(*) as row_count{sums}
            from raw.{contract.table} {where}
            group by 1
        ) as t
        cross join lateral (values {values}) as v (measure, value);
        insert into pg_temp.held select * from pg_temp.held_now
        """
    )


def compare_raw_to_staging(
    comparisons: Comparisons, contract: Contract, entity: str, days: Days, *, has_model: bool
) -> None:
    """The rows and amounts of a raw table's files against a conformed staging view.

    A contract's own entity has each row once. An entity that is gathered from the lines of another one has no
    row that is not one of the lines.

    Args:
        entity: One that the contract feeds.
        has_model: Whether there is a view `stg_<entity>`. For those that the warehouse takes in it is in the
            temporary table `delivered_<entity>` (see `warehouse.deliver`).
    """
    cursor = comparisons.cursor
    is_own = entity == grain(contract)
    measures = measures_of(contract) if is_own else ()
    cursor.execute(
        f"""
        select file_id from pg_temp.files
        where source = {quote_text(contract.source)} and entity = {quote_text(contract.entity)} and is_live
            and {on_days("business_date", days)}
        """
    )
    file_ids = [file_id for (file_id,) in cursor]
    ids = bigint_array(file_ids)
    values = ", ".join(
        [
            f"('{ROWS}', t.row_count::numeric, t.matched::numeric)",
            *(f"({quote_text(m.name)}, t.m{n}, t.m{n})" for n, m in enumerate(measures)),
        ]
    )
    if not has_model:
        staged = "select null::bigint as file_id, null as measure, 0 as value, 0 as matched where false"
    else:
        is_gathered = entity in WAREHOUSE_KEYS
        relation = f"pg_temp.delivered_{entity} as s" if is_gathered else f"staging.stg_{entity} as s"
        system = "" if is_gathered else f"s.source_system = {quote_text(contract.source)} and "
        sums = "".join(f", sum(coalesce({m.conformed}, 0)) as m{n}" for n, m in enumerate(measures))
        matched = "count(*)"
        if not is_own:
            relation += f"""
                left join raw.{contract.table} as r
                    on r._file_id = s._file_id and r._line_number = s._line_number
            """
            matched = "count(distinct r._line_number)"
        staged = f"""
            select t.file_id, v.measure, v.value, v.matched
            from (
                select s._file_id as file_id, count(*) as row_count, {matched} as matched{sums}
                from {relation}
                where {system}s._file_id = any({ids})
                group by s._file_id
            ) as t
            cross join lateral (values {values}) as v (measure, value, matched)
        """
    names = ", ".join(f"({quote_text(name)})" for name in (ROWS, *(measure.name for measure in measures)))
    expected, name = "held", "null"
    if not has_model:
        expected, name = "0", "'no_staging_model'"
    elif not is_own:
        expected, name = "matched", "'merged_lines'"
    comparisons.add(
        Step(
            contract.source, entity, "raw", "staging", f"raw.{contract.table}", f"staging.stg_{entity}", days
        ),
        f"""
        with staged as (
            {staged}
        ),

        base as (
            select f.business_date, m.measure, coalesce(h.value, 0) as held, coalesce(s.value, 0) as staged,
                coalesce(s.matched, 0) as matched
            from pg_temp.files as f
            cross join (values {names}) as m (measure)
            left join pg_temp.held as h on h.file_id = f.file_id and h.measure = m.measure
            left join staged as s on s.file_id = f.file_id and s.measure = m.measure
            where f.file_id = any({ids})
        )

        select business_date as day, measure, {name} as name, held as delivered, {expected} as expected,
            staged as actual, held - {expected} as row_count, ({expected} <> staged)::integer as wrong
        from base
        """,
    )


def bigint_array(values: Sequence[int]) -> str:
    """Numbers as a constant array."""
    return "'{" + ",".join(map(str, values)) + "}'::bigint[]"
