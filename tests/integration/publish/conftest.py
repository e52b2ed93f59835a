"""A small set of marts, made by hand so that publication is tested apart from what dbt builds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg2.extensions
import pytest

from ecommerce_dw import db
from ecommerce_dw.publish import PublishSummary, publish
from ecommerce_dw.settings import Settings

#: The marts of these tests. The sum of all amounts is 0 in every validated state.
MODELS = ("customer_amounts", "day_amounts")

BUILD = """
create table marts_build.customer_amounts (
    source_system text not null,
    customer_id text not null,
    amount numeric(18, 4),
    note text,
    primary key (source_system, customer_id)
);
comment on table marts_build.customer_amounts is 'One row per customer.';
comment on column marts_build.customer_amounts.amount is 'What they spent.';
grant select on marts_build.customer_amounts to analyst;
create index on marts_build.customer_amounts (amount);
create table marts_build.day_amounts (
    source_system text not null,
    period_type text not null,
    period_start date not null,
    amount numeric(18, 4),
    primary key (source_system, period_type, period_start)
);
grant select on marts_build.day_amounts to analyst;
insert into marts_build.customer_amounts
select 'shop', 'c' || n, 1, 'first' from generate_series(1, 2000) as n;
insert into marts_build.day_amounts
select 'shop', 'day', date '2025-01-01' + n, -2 from generate_series(0, 999) as n;
insert into ops.model_marks (model, load_id) values ('customer_amounts', 1), ('day_amounts', 1);
insert into ops.touched (model, load_id, key) values ('customer_amounts', 1, '*'), ('day_amounts', 1, '*');
"""


@pytest.fixture
def transformer(settings: Settings) -> Iterator[psycopg2.extensions.connection]:
    """A connection of the role that dbt builds with, in autocommit."""
    connection = db.connect("transformer", settings=settings)
    connection.autocommit = True
    yield connection
    connection.close()


@pytest.fixture
def run(transformer: psycopg2.extensions.connection) -> Callable[..., list[tuple]]:
    """Runs statements as the transformer; returns the rows of the last one."""

    def execute(statement: str, parameters: object = None) -> list[tuple]:
        with transformer.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    return execute


@pytest.fixture
def built(settings: Settings, run: Callable[..., list[tuple]]) -> Settings:
    """A warehouse whose schema marts_build holds two built marts; nothing is published."""
    run(BUILD)
    return settings


@pytest.fixture
def published(built: Settings) -> Settings:
    """The same, published once."""
    publish(built, models=MODELS)
    return built


@pytest.fixture
def republish(published: Settings) -> Callable[..., PublishSummary]:
    """Publishes again."""

    def again(**options: object) -> PublishSummary:
        return publish(published, **({"models": MODELS} | options))

    return again
