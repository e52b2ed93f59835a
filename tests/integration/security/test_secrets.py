"""Planted secrets are searched for after runs: no log, argument of a process, artifact or table has one."""

from __future__ import annotations

import datetime as dt
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from ecommerce_dw import db
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform import database
from ecommerce_dw.platform.configuration import write_configuration
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.quality import build_data_docs
from ecommerce_dw.settings import Settings
from shop_simulator import generate
from tests.conftest import settings_for
from tests.support.planted import PLANTED, Arguments, files_of, search
from tests.support.receivers import receiving_mail, receiving_posts

DATABASE, OWNER = "planted_dw", "planted_owner"


@pytest.fixture
def planted() -> dict[str, str]:
    return {name: f"planted{secrets.token_hex(12)}" for name in PLANTED}


@pytest.fixture
def site(
    postgres: EmbeddedPostgres, template_database: str, tmp_path: Path, planted: dict[str, str]
) -> Iterator[Settings]:
    """Three days of a shop, and nothing but planted secrets."""
    plain = settings_for(postgres, template_database, tmp_path)
    postgres.execute(f"create role {OWNER} login superuser password '{planted['warehouse_password']}'")
    postgres.execute(f"create database {DATABASE} owner {OWNER}")
    with receiving_posts() as hook, receiving_mail() as inbox:
        hook.answers = 500
        planted["alert_webhook_url"] = f"{hook.url}/planted{secrets.token_hex(12)}"
        settings = settings_for(
            postgres, DATABASE, tmp_path / "home",
            warehouse_user=OWNER,
            smtp_host="127.0.0.1", smtp_port=inbox.port, smtp_user="somebody",
            alert_mail_to="people@example.com",
            **{name: SecretStr(value) for name, value in planted.items()},
        )  # fmt: skip
        generate(
            settings.landing("ecommerce"), first=dt.date(2026, 1, 30), last=dt.date(2026, 2, 1), scale=1.0
        )
        migrate(settings)
        database.set_role_passwords(settings)
        yield settings
    database.set_role_passwords(plain)
    postgres.execute(f"drop database {DATABASE} with (force)")
    postgres.execute(f"reassign owned by {OWNER} to warehouse")
    postgres.execute(f"drop owned by {OWNER}")
    postgres.execute(f"drop role {OWNER}")


def variables(settings: Settings, planted: Mapping[str, str]) -> dict[str, str]:
    return (
        dict(os.environ)
        | settings.environment()
        | {name.upper(): value for name, value in planted.items()}
        | {
            "SMTP_HOST": settings.smtp_host,
            "SMTP_PORT": str(settings.smtp_port),
            "SMTP_USER": settings.smtp_user,
            "ALERT_MAIL_TO": settings.alert_mail_to,
        }
    )


@pytest.mark.slow
def test_planted_secrets_are_found_nowhere(
    site: Settings, planted: dict[str, str], postgres: EmbeddedPostgres, figure: Callable[..., None]
) -> None:
    write_configuration(site)
    program = str(Path(sys.executable).with_name("ecommerce-dw"))
    days = ("--from", "2026-01-30", "--to", "2026-02-01", "--apply")
    broken = site.landing("ecommerce") / "orders" / "dt=2026-01-31" / "orders.csv"
    content = broken.read_text()
    said = []

    def call(*arguments: str, fails: bool = False) -> None:
        done = subprocess.run(
            [program, "-v", *arguments], env=variables(site, planted), capture_output=True, text=True
        )
        said.append(done.stdout + done.stderr)
        assert (done.returncode != 0) is fails, said[-1]

    with Arguments(planted) as arguments:
        broken.write_text("no,such,header\n" + content)
        call("reprocess", *days, fails=True)  # a refused file stops it, and people are told
        broken.write_text(content)
        call("reprocess", *days)
        call("status", "--json")
        call("migrate")
        wrong = variables(site, planted) | {"TRANSFORMER_PASSWORD": planted["api_password"]}
        refused = subprocess.run([program, "build"], env=wrong, capture_output=True, text=True)
        said.append(refused.stdout + refused.stderr)
        assert refused.returncode != 0
    with db.transaction(settings=site) as cursor:
        cursor.execute("select run_id from ops.runs where status = 'succeeded'")
        (run_id,) = cursor.fetchone() or ("",)
        cursor.execute("select count(*) from ops.alerts where deliveries::text like '%failed%'")
        assert cursor.fetchone() != (0,), "no channel failed, so no error told of one"
    assert build_data_docs(site, run_id)

    places = {"output": "\n".join(said), "server's log": postgres.log_file.read_text(errors="replace")}
    places |= files_of(site.home)
    with db.transaction(settings=site) as cursor:
        cursor.execute(
            "select oid::regclass::text from pg_class where relkind = 'r' and relnamespace > 16383"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"select coalesce(string_agg(t::text, ' '), '') from {table} as t")
            places[f"table {table}"] = str((cursor.fetchone() or ("",))[0])
    found = search(planted, places, arguments, figure)
    assert found == set()
    assert arguments.looks > 20
    # What is searched is really there.
    assert any("partial_parse" in place or "run_results" in place for place in places)
    assert any("data_docs" in place for place in places)


def test_settings_that_are_printed_show_no_secret(tmp_path: Path, planted: dict[str, str]) -> None:
    settings = Settings(
        _env_file=None,
        ecommerce_dw_home=tmp_path,
        alert_webhook_url="https://hooks.example.com/planted",
        **planted,
    )
    assert "planted" not in repr(settings) and "planted" not in str(settings.model_dump())
