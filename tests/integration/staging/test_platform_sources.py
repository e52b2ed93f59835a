"""What dbt is told of the platform's own tables is what the migrations make."""

from __future__ import annotations

import psycopg2.extensions
import yaml

from ecommerce_dw.settings import PROJECT_DIR


def test_the_platforms_sources_name_every_column(owner: psycopg2.extensions.connection) -> None:
    file = PROJECT_DIR / "dbt" / "models" / "staging" / "_platform__sources.yml"
    for source in yaml.safe_load(file.read_text())["sources"]:
        for table in source["tables"]:
            with owner.cursor() as cursor:
                cursor.execute(
                    "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 "
                    "and not attisdropped order by attnum",
                    (f"{source['schema']}.{table['name']}",),
                )
                existing = [name for (name,) in cursor]
            assert [column["name"] for column in table["columns"]] == existing, table["name"]
            assert all(column["description"] for column in table["columns"])
