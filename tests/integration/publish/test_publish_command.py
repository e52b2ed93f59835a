"""`ecommerce-dw publish`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from ecommerce_dw import publish as publication
from ecommerce_dw.cli import main
from ecommerce_dw.commands import publish as publish_command
from ecommerce_dw.settings import Settings

from .conftest import MODELS


@pytest.fixture
def command(built: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs the command against the test's warehouse; its exit code and output."""
    monkeypatch.setattr(publish_command, "get_settings", lambda: built)
    monkeypatch.setattr(publication, "project_marts", lambda _: frozenset(MODELS))

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["publish", *arguments])
        return result.exit_code, result.output

    return run


def test_it_says_what_it_did(command: Callable[..., tuple[int, str]]) -> None:
    code, output = command()
    assert code == 0
    assert "marts.customer_amounts  +2,000 ~0 -0 (all rows compared; table made)" in output
    assert "Published 2 tables, 3,000 rows changed." in output
    code, output = command("--json", "--run-id", "r1")
    assert code == 0
    assert json.loads(output)["run_id"] == "r1"
    assert [table["name"] for table in json.loads(output)["tables"]] == list(MODELS)


def test_a_refusal_ends_with_code_1_and_its_reason(
    command: Callable[..., tuple[int, str]], run: Callable[..., list[tuple]]
) -> None:
    command()
    run("alter table marts_build.customer_amounts drop column note")
    code, output = command()
    assert (code, "column note goes" in output) == (1, True)
    code, output = command("--json")
    assert (code, "column note goes" in json.loads(output)["error"]) == (1, True)
    assert command("--replace")[0] == 0
