"""Each kind of alert has a page that says what to do; what stands on the pages works."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

from ecommerce_dw import db
from ecommerce_dw.alerts import Kind, TaskFailure, evaluate
from ecommerce_dw.cli import COMMANDS
from ecommerce_dw.freshness import check_freshness
from ecommerce_dw.nightly import LateRun
from ecommerce_dw.settings import PROJECT_DIR, Settings
from tests.support.raw_rows import RawRows

RUNBOOKS = PROJECT_DIR / "docs" / "runbooks"
PAGES = sorted(RUNBOOKS.glob("*.md"))
SECTIONS = ["What it means", "What readers see", "How to see it", "What to do", "How it closes"]
RULES = PROJECT_DIR / "infrastructure" / "monitoring" / "alerts.yml"


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_of_alert_has_a_page_and_a_place_in_the_list(kind: Kind) -> None:
    assert (PROJECT_DIR / kind.runbook).is_file(), f"{kind!r} can be alerted: write {kind.runbook}."


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_page_has_its_sections_and_a_place_in_the_list(page: Path) -> None:
    if page.stem == "alerts":
        return
    assert re.findall(r"^## (.+)$", page.read_text(), flags=re.MULTILINE) == SECTIONS
    assert f"({page.name})" in (RUNBOOKS / "alerts.md").read_text()


def test_each_page_is_about_an_alert() -> None:
    """An incident's, or one of Prometheus' rules."""
    named_by_rules = set(re.findall(r"runbook: docs/runbooks/(\S+)", RULES.read_text()))
    assert {page.name for page in PAGES} == {f"{kind}.md" for kind in Kind} | named_by_rules


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_queries_of_a_page_work_for_who_may_only_read(page: Path, settings: Settings) -> None:
    blocks = re.findall(r"```sql\n(.+?)```", page.read_text(), flags=re.DOTALL)
    assert blocks
    connection = db.connect("analyst", settings=settings)
    try:
        for statement in (part for block in blocks for part in re.split(r";\n+", block) if part):
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
                assert cursor.description, statement
    finally:
        connection.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"`ecommerce-dw ([a-z]+)", text)) <= set(COMMANDS)
    deploy = (PROJECT_DIR / "deploy.sh").read_text()
    for command in re.findall(r"\./deploy\.sh ([a-z]+)", text):
        assert re.search(rf"^ +([a-z-]+ \| )*{command}( \| [a-z-]+)*\)", deploy, flags=re.MULTILINE), command
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).is_file(), target
    settings = (PROJECT_DIR / ".env.example").read_text()
    for name in re.findall(r"`([A-Z]+_[A-Z_]+)`", text):
        assert name in settings, name


def test_an_alert_names_the_page_of_its_kind(settings: Settings) -> None:
    """Every kind this package opens by itself, opened for real."""
    owner = db.connect("owner", settings=settings)
    owner.autocommit = True
    raw = RawRows(owner, settings)
    raw.create_tables("ecommerce")
    raw.refuse("ecommerce", "orders", "2026-03-31")
    raw.load("ecommerce", "products", "2026-03-01", [])
    check_freshness(settings, "run", dt.date(2026, 3, 31))
    with owner.cursor() as cursor:
        for severity in ("critical", "warning"):
            cursor.execute(
                """
                insert into ops.expectation_results (
                    run_id, checkpoint, suite, name, expectation_type, object, severity, is_success
                ) values ('run', 'raw', 'suite', %s, 'type', 'table', %s, false)
                """,
                (f"table.{severity} rule", severity),
            )

    opened = evaluate(
        settings,
        "run",
        task_failures=[TaskFailure("build_marts"), TaskFailure("publish")],
        late_run=LateRun(dt.date(2026, 3, 31), dt.datetime(2026, 4, 1, 6, tzinfo=dt.UTC)),
    ).opened
    # The source delivers again, but for one of its entities.
    raw.load("ecommerce", "customers", "2026-03-31", [])
    check_freshness(settings, "run", dt.date(2026, 3, 31))
    opened += evaluate(settings, "run").opened
    opened += evaluate(
        settings,
        "night",
        task_failures=[TaskFailure("backup"), TaskFailure("vacuum")],
        tasks_of="maintenance",
    ).opened

    with owner.cursor() as cursor:
        cursor.execute(
            "select title, substring(body from 'Runbook: (\\S+)$') from ops.alerts where kind = 'opened'"
        )
        pages = dict(cursor.fetchall())
    owner.close()
    assert set(pages) == set(opened)
    assert sorted(pages.values()) == sorted(
        kind.runbook
        for kind in (
            Kind.FILE_REFUSED,
            Kind.SOURCE_STALE,
            Kind.EXPECTATION_CRITICAL,
            Kind.EXPECTATION_WARNING,
            Kind.DBT_FAILED,
            Kind.TASK_FAILED,
            Kind.RUN_LATE,
            Kind.ENTITY_MISSING,
            Kind.BACKUP_FAILED,
            Kind.MAINTENANCE_FAILED,
        )
    )
    assert all((PROJECT_DIR / page).is_file() for page in pages.values())


def test_each_task_of_the_maintenance_has_a_page_of_its_own(settings: Settings) -> None:
    """Also one that is added: what a failed backup means is not what a failed load means."""
    dag = (PROJECT_DIR / "airflow" / "dags" / "maintenance_dag.py").read_text()
    tasks = [name for name in re.findall(r"^    def (\w+)\(", dag, flags=re.MULTILINE) if name != "alert"]
    assert len(tasks) >= 6
    evaluate(settings, "night", task_failures=tasks, tasks_of="maintenance")
    with db.transaction(settings=settings) as cursor:
        cursor.execute("select body from ops.alerts")
        bodies = [body for (body,) in cursor.fetchall()]
    assert len(bodies) == len(tasks)
    pages = {page.name for body in bodies for page in PAGES if body.endswith(f"docs/runbooks/{page.name}")}
    assert pages == {"backup-failed.md", "maintenance-failed.md"}
