"""No SQL is made of unquoted values: in a statement is a parameter, a quoted name, or SQL of ours.

A statement in the code is a constant, or made of parts. Each part of one that is handed to `execute` (or to
`psycopg2.sql.SQL`, which quotes nothing) has to be, followed back through the function it is in: a constant,
what a function that quotes or writes SQL gave, or several of these joined.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecommerce_dw.settings import PROJECT_DIR

FOLDERS = (PROJECT_DIR / "airflow", PROJECT_DIR / "data-generation")
#: Take a statement as their first, or second, argument.
EXECUTORS = {"execute": 0, "executemany": 0, "copy_expert": 0, "SQL": 0, "text": 0, "execute_values": 1}
#: Quote what they are given, or write SQL of ours from contracts, whose names are checked when they are read.
WRITERS = {
    "quote_name", "quote_text", "qualified", "rules", "sql", "copy_sql", "create_table_sql", "in_effect",
    "_typed", "_pairs", "_identifier", "_literal", "_text", "_insert_sql", "has_digest", "join", "int", "len",
}  # fmt: skip
#: A statement that is handed on: where it is made, it is looked at.
HANDED_ON = {"statement", "query", "template"}
#: Looked at by a person, by file: what else goes into a statement, and why it may.
REVIEWED: dict[str, set[str]] = {
    # names of tables, columns and conditions that the loader makes from a contract with quote_name
    "loading/batch.py": {
        "table", "among", "self._table", "max((start_block or 0) - _RECENT_BLOCKS, 0)",
        "(ddl.quote_name(c.name) for c in self._contract.columns)",
    },
    # that condition, handed on
    "loading/erasure.py": {"among"},
    # definitions, rights and types as the server's catalog gives them, quoted by it
    "loading/views.py": {"view.definition", "privilege"},
    "publish.py": {
        "view.name", "view.kind", "view.definition", "kind", "privilege", "grantee", "column",
        "shape.types[name]",
    },
    "platform/restore.py": {"right"},
    # one of two words or tables of ours
    "maintenance.py": {"needed", "may_go"},
    "platform/backup.py": {"revision_table"},
    "migrations/versions/v0010_monitor.py": {"setting"},
    # queries that dbt compiled from the project
    "transform.py": {"one", "other", "node.query.replace('%', '%%')"},
    # SQL written from contracts and from the list of steps; what is measured comes as a parameter
    "reconciliation/files.py": {
        "on_days('business_date', days)", "raw_sql(contract, measure)", "n", "contract.table",
        "bigint_array(file_ids)", "(f'({quote_text(m.name)}, t.m{n})' for n, m in enumerate(measures))",
    },
    "reconciliation/warehouse.py": {
        "name", "self.system", "entity", "self._among(delivered_order, orders)", "dates",
        "on_days('business_date', days)", "WAREHOUSE_KEYS[entity]",
    },
    "reconciliation/marts.py": {"system"},
    "reconciliation/plan.py": {"_days_of_versions(contract, feed, since, upto, orders)"},
    "reconciliation/comparison.py": {
        "table", "self._steps.index(step)", "len(self._steps) - 1", "select", "condition",
    },
    # load ids, which are numbers, and keys of models
    "quality/warehouse.py": {
        "scope.upto", "scope.since", "scope.touched('fact_orders')", "scope.touched('fact_order_items')",
        "scope.touched('dim_products')", "scope.touched('dim_customers')",
    },
    "quality/reconciled.py": {"scope.touched(fact)"},
}  # fmt: skip


class Function(ast.NodeVisitor):
    """The statements of one function, and what its names were given."""

    def __init__(self) -> None:
        self.given: dict[str, list[ast.expr]] = {}
        self.statements: list[ast.expr] = []

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.given.setdefault(target.id, []).append(node.value)
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for name, value in zip(target.elts, node.value.elts, strict=False):
                    if isinstance(name, ast.Name):
                        self.given.setdefault(name.id, []).append(value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.given.setdefault(node.target.id, []).append(node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name) and node.value:
            self.given.setdefault(node.target.id, []).append(node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        place = EXECUTORS.get(name)
        if place is not None and len(node.args) > place:
            self.statements.append(node.args[place])
        self.generic_visit(node)

    def doubtful(self, node: ast.expr, seen: frozenset[str] = frozenset()) -> Iterator[ast.expr]:
        """The parts of an expression that nobody can say are SQL of ours."""
        match node:
            case ast.Constant():
                return
            case ast.JoinedStr(values=parts):
                for part in parts:
                    yield from self.doubtful(
                        part.value if isinstance(part, ast.FormattedValue) else part, seen
                    )
            case ast.BinOp(left=left, op=ast.Add() | ast.Mod(), right=right):
                yield from self.doubtful(left, seen)
                yield from self.doubtful(right, seen)
            case ast.IfExp(body=body, orelse=other):
                yield from self.doubtful(body, seen)
                yield from self.doubtful(other, seen)
            case ast.Name(id=name) if name in seen or name.isupper() or name.lstrip("_").isupper():
                return
            case ast.Name(id=name) if name in self.given:
                for value in self.given[name]:
                    yield from self.doubtful(value, seen | {name})
            case ast.Attribute(attr=name) if name.lstrip("_").isupper():
                return
            case ast.Call(func=ast.Attribute(attr="join"), args=[ast.GeneratorExp(elt=part)]):
                yield from self.doubtful(part, seen)
            case ast.Call(func=ast.Attribute(attr="join"), args=[ast.List(elts=parts)]):
                for part in parts:
                    yield from self.doubtful(part.value if isinstance(part, ast.Starred) else part, seen)
            case ast.Call(func=ast.Name(id="map"), args=[ast.Name(id=writer), *_]) if writer in WRITERS:
                return
            case ast.Call(func=ast.Attribute(attr="join"), args=[part]):
                yield from self.doubtful(part, seen)
            case ast.Call(func=ast.Attribute(attr="format", value=template), args=parts, keywords=named):
                # psycopg2's: its parts quote themselves. A text's own quotes nothing.
                if not is_composed(template):
                    for part in [template, *parts, *(keyword.value for keyword in named)]:
                        yield from self.doubtful(part, seen)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in WRITERS:
                return
            case ast.Call(func=ast.Attribute(value=ast.Name(id="sql"))):
                return  # looked at where it stands
            case ast.Call(func=ast.Name(id="text"), args=[inner]):
                yield from self.doubtful(inner, seen)
            case ast.Name(id=name) if name in HANDED_ON:
                return
            case _:
                yield node


def is_composed(node: ast.expr) -> bool:
    """Whether an expression is of psycopg2's `sql`."""
    return any(
        isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "sql"
        for each in ast.walk(node)
    )


def doubts(file: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(file.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions:
        found = Function()
        for child in function.body:
            found.visit(child)
        for statement in found.statements:
            for part in found.doubtful(statement):
                yield part.lineno, ast.unparse(part)


def test_every_part_of_a_statement_is_quoted_or_ours() -> None:
    files = [file for folder in FOLDERS for file in sorted(folder.rglob("*.py"))]
    assert len(files) > 100
    unknown, seen = [], set()
    for file in files:
        name = str(file.relative_to(PROJECT_DIR)).removeprefix("airflow/include/ecommerce_dw/")
        for line, part in doubts(file):
            seen.add((name, part))
            if part not in REVIEWED.get(name, ()):
                unknown.append(f"{name}:{line}: {part}")
    assert unknown == []
    gone = {(name, part) for name, parts in REVIEWED.items() for part in parts} - seen
    assert gone == set(), "no longer there: take it out of REVIEWED"


@pytest.mark.parametrize(
    "code",
    [
        "cursor.execute(f\"select * from t where id = '{customer}'\")",
        "cursor.execute('select * from t where id = ' + customer)",
        "cursor.execute('select * from t where id = %s' % customer)",
        "cursor.execute('select * from {}'.format(table))",
        "cursor.execute(sql.SQL(f'select * from {table}'))",
        "query = f'select * from {table}'\n    cursor.execute(query)",
        "execute_values(cursor, f'insert into {table} values %s', rows)",
    ],
)
def test_a_value_in_a_statement_is_found(tmp_path: Path, code: str) -> None:
    file = tmp_path / "module.py"
    file.write_text(f"def f(cursor, customer, table, rows):\n    {code}\n")
    assert [part for _, part in doubts(file)] in (["customer"], ["table"])
