"""`dbt build` of the whole project: every model, unit test and data test, deprecations as errors."""

from __future__ import annotations

from tests.support.dbt_warehouse import DbtWarehouse, Shop
from tests.support.two_shops import load_two_shops


def test_every_node_builds_every_test_passes_and_every_column_is_described(
    warehouse: DbtWarehouse, shop: Shop
) -> None:
    load_two_shops(shop)
    warehouse.freeze()

    nodes = warehouse.build("build", select="*")

    manifest = warehouse.incremental.manifest
    expected = {node.name for node in manifest.nodes.values() if node.config.materialized != "ephemeral"}
    unit_tests = {test.name for test in manifest.unit_tests.values()}
    assert unit_tests
    for exposure in manifest.exposures.values():
        del nodes[exposure.name]  # nothing is built for it
    assert set(nodes) == expected | unit_tests
    assert set(nodes.values()) == {"success", "pass"}
    assert _undescribed(warehouse) == []
    assert _of_another_type(warehouse) == []


def _undescribed(warehouse: DbtWarehouse) -> list[tuple[str]]:
    """Tables, views and columns without a comment in the database."""
    return warehouse.query(
        """
        select n.nspname || '.' || c.relname || coalesce('.' || a.attname, '')
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        cross join lateral (
            select 0 as attnum, null::name as attname
            union all
            select attnum, attname from pg_attribute
            where attrelid = c.oid and attnum > 0 and not attisdropped
        ) as a
        where n.nspname in ('staging', 'warehouse', 'marts_build') and c.relkind in ('r', 'v', 'p')
            and case when a.attnum = 0 then obj_description(c.oid, 'pg_class')
                else col_description(c.oid, a.attnum) end is null
        order by 1
        """
    )


def _of_another_type(warehouse: DbtWarehouse) -> list[tuple[str, str, str | None]]:
    """Columns of models and seeds whose type is not the one their yml says: column, type, what is said."""
    said = {
        (node.schema, node.name, column.name): column.data_type
        for node in warehouse.incremental.manifest.nodes.values()
        if node.resource_type in ("model", "seed")
        for column in node.columns.values()
    }
    types = ", ".join(f"'{type_}'" for type_ in {*said.values()} - {None})
    canonical = dict(
        warehouse.query(
            f"select t, format_type(to_regtype(t), to_regtypemod(t)) from unnest(array[{types}]) as t"
        )
    )
    found = warehouse.query(
        """
        select n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relkind in ('r', 'v', 'p')
        order by n.nspname, c.relname, a.attnum
        """
    )
    return [
        (f"{schema}.{name}.{column}", type_, said[schema, name, column])
        for schema, name, column, type_ in found
        if (schema, name, column) in said and canonical.get(said[schema, name, column]) != type_
    ]
