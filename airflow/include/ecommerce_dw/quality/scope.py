"""What a checkpoint looks at: everything touched since the last publication."""

from __future__ import annotations

from ecommerce_dw import db
from ecommerce_dw.quality.model import Scope

#: A publication's mark in `ops.model_marks` is named by this and the table.
_PUBLICATION = "publication:"


def resolve_scope(connection: db.Connection, run_id: str, *, accepted_to: int = 0) -> Scope:
    """The scope of a run.

    A rerun after a failed checkpoint has the same scope as the failed run, since nothing was published in
    between: it fails again until the data changed or a person accepted it.

    Args:
        connection: Of a role that reads `ops`.
        run_id: The run; one that is not in `ops.runs` (a validation from a shell) ends at the newest load.
        accepted_to: Leave out what was loaded up to here, because a person accepted it.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select
                coalesce(
                    (select load_id_to from ops.runs where run_id = %(run_id)s),
                    (select max(load_id) from raw.load_ledger),
                    0
                ),
                coalesce((select is_full_refresh from ops.runs where run_id = %(run_id)s), false)
            """,
            {"run_id": run_id},
        )
        upto, is_full_refresh = cursor.fetchone() or (0, False)
        cursor.execute(
            "select model, load_id, touched_seq from ops.model_marks where starts_with(model, %s)",
            (_PUBLICATION,),
        )
        marks = {str(model).removeprefix(_PUBLICATION): (load, seq) for model, load, seq in cursor}
        # The facts and dimensions have no publication of their own: they count from the oldest one.
        since = min((load for load, _ in marks.values()), default=0)
        touched_since = min((seq for _, seq in marks.values()), default=0)
        published = {model: int(seq) for model, (_, seq) in marks.items()}
        is_full = accepted_to == 0 and (is_full_refresh or not marks)
        cursor.execute(
            "select model, max(touched_seq) from ops.touched where key = '*' and load_id > %s group by model",
            (accepted_to - 1 if accepted_to == 0 else accepted_to,),
        )
        rebuilt = frozenset(
            model for model, seq in cursor.fetchall() if int(seq) > published.get(model, touched_since)
        )
    return Scope(
        run_id=run_id,
        since=0 if is_full else max(int(since), accepted_to),
        upto=int(upto),
        is_full=is_full,
        touched_since=int(touched_since),
        published=published,
        rebuilt=rebuilt,
        accepted_to=accepted_to,
    )
