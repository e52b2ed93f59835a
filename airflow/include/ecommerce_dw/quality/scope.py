"""What a checkpoint looks at: everything touched since the last publication."""

from __future__ import annotations

from ecommerce_dw import db
from ecommerce_dw.quality.model import Scope

#: A publication's mark in `ops.model_marks` is named by this and the table.
_PUBLICATION = "publication:"


def resolve_scope(connection: db.Connection, run_id: str) -> Scope:
    """The scope of a run.

    A rerun after a failed checkpoint has the same scope as the failed run, since nothing was published in
    between: it fails again until the data changed or a person accepted it.

    Args:
        connection: Of any role that reads `ops`.
        run_id: The run; one that is not in `ops.runs` (a validation from a shell) ends at the newest load.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select coalesce(
                (select load_id_to from ops.runs where run_id = %s),
                (select max(load_id) from raw.load_ledger),
                0
            )
            """,
            (run_id,),
        )
        (upto,) = cursor.fetchone() or (0,)
        cursor.execute(
            "select coalesce((select is_full_refresh from ops.runs where run_id = %s), false)", (run_id,)
        )
        (is_full_refresh,) = cursor.fetchone() or (False,)
        cursor.execute(
            "select model, load_id from ops.model_marks where starts_with(model, %s)", (_PUBLICATION,)
        )
        published = {str(model).removeprefix(_PUBLICATION): int(mark) for model, mark in cursor}
        since = 0 if is_full_refresh else min(published.values(), default=0)

        # The facts and dimensions have no publication of their own: they count from the oldest one.
        # From the mark on, inclusive: a model rebuilt without new loads writes the same load id again.
        cursor.execute(
            """
            with marks as (
                select
                    m.model,
                    p.load_id as published
                from ops.model_marks as m
                left join ops.model_marks as p on p.model = %(prefix)s || m.model
                where not starts_with(m.model, %(prefix)s)
            )
            select
                m.model,
                coalesce(m.published, %(since)s) as since,
                count(distinct (t.source_system, t.key)) as touched,
                coalesce(bool_or(t.key = '*'), false) as is_everything
            from marks as m
            left join ops.touched as t
                on t.model = m.model and t.load_id >= coalesce(m.published, %(since)s)
            group by m.model, m.published
            """,
            {"prefix": _PUBLICATION, "since": since},
        )
        touched: dict[str, int | None] = {}
        marks: dict[str, int] = {}
        for model, mark, count, is_everything in cursor:
            is_full = is_full_refresh or is_everything or since == 0
            touched[model] = None if is_full else int(count)
            marks[model] = int(mark)
    return Scope(run_id=run_id, since=since, upto=int(upto), touched=touched, marks=marks)
