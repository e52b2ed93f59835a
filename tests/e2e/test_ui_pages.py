"""The pages of Airflow's UI that a newcomer sees first, in a headless Chromium where one is installed.

`ECOMMERCE_DW_SCREENSHOTS=docs/images` keeps pictures of them for the README.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.checkout import Checkout, make_checkout
from tests.support.chromium import Page, browsing, find_chromium

CHROMIUM = find_chromium()
DAG = "ecommerce_etl_pipeline"
TASKS = ("load", "check_raw", "build_warehouse", "check_marts", "publish")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed"),
]

#: Said by Airflow's own pages whatever DAGs there are; of no consequence.
HARMLESS = ("favicon",)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """`./deploy.sh dev` on a week of a small shop, with the UI."""
    checkout = make_checkout(tmp_path_factory.mktemp("ui") / "checkout", small_dag=False)
    try:
        done = checkout.run("dev", "--days", "7", "--scale", "0.2")
        assert done.returncode == 0, done.stdout + done.stderr
        yield checkout
    finally:
        checkout.run("reset", "--yes")


@pytest.fixture(scope="module")
def address(platform: Checkout) -> str:
    return f"http://localhost:{platform.airflow_port}"


@pytest.fixture(scope="module")
def page(platform: Checkout, address: str) -> Iterator[Page]:
    """A browser in which the person has logged in."""
    assert CHROMIUM is not None
    with browsing(CHROMIUM) as page:
        page.open(address)
        page.wait_for("Sign into Airflow")
        page.type("input[name=username]", "admin")
        page.type("input[name=password]", "admin")
        page.click("Sign in")
        page.wait_for("Dags")
        yield page


@pytest.fixture(scope="module")
def run_id(platform: Checkout) -> str:
    query = f"select run_id from dag_run where dag_id = '{DAG}' order by id desc limit 1"
    return platform.run("psql", "-d", "airflow", "-Atc", query).stdout.strip()


@pytest.fixture
def keep(page: Page, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps a picture of the page where that is asked for; and lets no error pass that the console showed."""

    def keep(name: str) -> None:
        errors = [error for error in page.errors if not any(word in error for word in HARMLESS)]
        assert errors == []
        if folder := os.environ.get("ECOMMERCE_DW_SCREENSHOTS"):
            file = request.config.rootpath / Path(folder) / f"{name}.png"
            page.screenshot(file)
            assert file.stat().st_size < 300_000, f"{file} is too large for the README"

    return keep


def test_the_list_shows_every_dag_with_its_tags(
    page: Page, address: str, keep: Callable[[str], None]
) -> None:
    page.open(f"{address}/dags")
    page.wait_for(DAG, "simulate_shop_day", "reprocess", "impact:high", "triage:page")
    keep("airflow-dags")


def test_the_grid_shows_each_task_of_the_run(page: Page, address: str, keep: Callable[[str], None]) -> None:
    page.open(f"{address}/dags/{DAG}")
    page.wait_for(DAG, *TASKS)
    keep("airflow-grid")


def test_the_graph_shows_the_order_of_the_tasks(
    page: Page, address: str, keep: Callable[[str], None], run_id: str
) -> None:
    page.run("localStorage.setItem('default_dag_view', JSON.stringify('graph'))")
    try:
        page.open(f"{address}/dags/{DAG}/runs/{run_id}")
        # The names of the tasks are on the page before the graph is drawn.
        page.until("document.querySelectorAll('.react-flow__node').length === 11")
        page.until("document.querySelectorAll('.react-flow__edge').length >= 11")
    finally:
        page.run("localStorage.removeItem('default_dag_view')")
    page.wait_for(DAG, *TASKS)
    keep("airflow-graph")


def test_the_log_of_a_task_can_be_read(
    page: Page, address: str, keep: Callable[[str], None], run_id: str
) -> None:
    page.open(f"{address}/dags/{DAG}/runs/{run_id}/tasks/check_raw")
    page.wait_for("check_raw", "expectations")
    keep("airflow-log")


def test_the_runbook_is_a_click_away(page: Page, address: str, keep: Callable[[str], None]) -> None:
    page.open(f"{address}/dags/{DAG}")
    page.click("Dag Docs")
    page.wait_for("when this task fails", "Nothing is half loaded", "Rerun a day:")
    keep("airflow-runbook")


def test_reprocessing_asks_for_its_parameters(page: Page, address: str, keep: Callable[[str], None]) -> None:
    page.open(f"{address}/dags/reprocess")
    page.click("Trigger")
    page.wait_for("Dry run", "Full refresh", "First business date")
    keep("airflow-reprocess")
