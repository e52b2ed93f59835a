"""The rules of dbt-project-evaluator, as far as they make sense here, read from the parsed project.

Which of them are left out, and why: docs/decisions/0090-project-rules.md.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ecommerce_dw.settings import PROJECT_DIR
from tests.support.dbt_warehouse import DbtWarehouse

#: Layer of a folder of models, from what arrives to what is read.
LAYERS = ("staging", "intermediate", "warehouse", "marts")
#: What each layer reads, itself included where one of its models may read another.
READS = {
    "staging": {"staging"},
    # the warehouse's own steps read staging; the daily states read the warehouse
    "intermediate": {"staging", "intermediate", "warehouse"},
    "warehouse": {"staging", "intermediate", "warehouse"},
    "marts": {"intermediate", "warehouse", "marts"},
}
#: Lists of what happened and counts over everything: their rows are no things with a key.
KEYLESS = ("touched", "_events", ".flagged_rows")


#: An import: a CTE that takes a model in, whole or in part.
IMPORT = re.compile(
    r"(?P<name>\w+) as (?P<how>not materialized |\{\{[^}]*\}\})?\(\s*"
    r"select (?:(?!\bselect\b).)*?from \{\{ ref\('(?:fact|int|stg)_\w+'\) \}\}"
    r"(?P<filter>[^)]*?(?:\{\{.*?\}\}[^)]*?)?)\s*\)\s*,",
    re.DOTALL,
)


class Project:
    """The models of the parsed project."""

    def __init__(self, manifest: Any) -> None:
        self.manifest = manifest
        self.models = {name: node for name, node in manifest.nodes.items() if node.resource_type == "model"}
        self.tests = [node for node in manifest.nodes.values() if node.resource_type == "test"]

    def layer(self, unique_id: str) -> str:
        """The folder below models/ that a model lies in."""
        return str(Path(self.models[unique_id].original_file_path).parts[1])

    def parents(self, unique_id: str, kind: str = "model") -> list[str]:
        """What a model reads, of one kind."""
        return [name for name in self.models[unique_id].depends_on.nodes if name.startswith(f"{kind}.")]

    @property
    def business(self) -> list[str]:
        """Models that are not about the platform itself."""
        return [name for name in self.models if self.layer(name) in LAYERS]


@pytest.fixture(scope="module")
def project(built_once: DbtWarehouse) -> Project:
    """The project, parsed."""
    return Project(built_once.incremental.manifest)


def test_every_model_says_its_grain_has_a_tested_key_a_group_and_where_it_counts_a_contract(
    project: Project,
) -> None:
    keyed = {
        model
        for node in project.tests
        if getattr(node, "test_metadata", None) is not None
        and node.test_metadata.name in ("unique", "unique_combination", "primary_key")
        for model in node.depends_on.nodes
    }
    keyless = {name for name in project.models if name.endswith(KEYLESS)}
    models = project.models.items()
    assert [name for name, node in models if not node.description.startswith("One row per")] == []
    assert sorted(project.models.keys() - keyed - keyless) == []
    assert [name for name, node in models if not node.group] == []
    assert [
        name
        for name, node in models
        if node.schema in ("warehouse", "marts_build") and not node.contract.enforced
    ] == []


def test_values_may_be_missing_only_where_the_rules_say_so(project: Project) -> None:
    """The part of docs/decisions/0031-missing-values.md that the contracts of warehouse and marts show."""
    # a kind of column by its name; where a value of that kind may be missing
    allowed = {
        r".*_key": r".*\.(customer|product)_key",  # a guest; a line without a product
        r".*_id": r".*\.(customer|product)_id|fact_sessions\.order_id",
        r".*_count": r".*\.(year_ago|estimated)_order_count",  # a comparison, an estimate: no counts
        # a part of the turnover is 0 where there was none
        r"(gross|discount|cancelled|refund|fee|adjustment|shipping|tax|net)_amount": "",
        r"(spend|ordered|captured)_amount": "",
        r"shipping_cost|quantity|(?!average_).*_quantity": "",
        r"(is|has)_.*": r".*\.(is_marketing_opt_in|is_active|is_overdue|is_improvement)",
        r"source_system|category|partner_category|channel|channel_name": r"dim_products\.category",
        r"line_type|order_type|activity_status|stage|period_type": "",
    }
    wrong = []
    for node in project.models.values():
        if node.schema not in ("warehouse", "marts_build"):
            continue
        keys = {column for rule in node.constraints for column in rule.columns}
        unique = node.config.get("unique_key") or []
        keys |= {unique} if isinstance(unique, str) else set(unique)
        keys.add(node.config.meta.get("partition_by_month") or "source_system")
        for column in node.columns.values():
            if any(rule.type in ("not_null", "primary_key") for rule in column.constraints):
                continue
            named = f"{node.name}.{column.name}"
            for kind, exceptions in allowed.items():
                if re.fullmatch(kind, column.name) and not re.fullmatch(exceptions, named):
                    wrong.append(named)
            if column.name in keys:
                wrong.append(f"{named}, of the grain")
    assert wrong == []


def test_no_model_reads_from_a_layer_above_or_skips_one(project: Project) -> None:
    wrong = [
        (name, parent)
        for name in project.business
        for parent in project.parents(name)
        if parent in project.models and project.layer(parent) not in READS[project.layer(name)]
    ]
    assert wrong == []


def test_only_staging_and_the_models_about_the_platform_read_sources(project: Project) -> None:
    # one model tells what lies in the ledger: the as-of dates
    readers = {
        name.split(".")[-1]
        for name in project.business
        if project.layer(name) != "staging" and project.parents(name, "source")
    }
    assert readers <= {"int_source_as_of"}


def test_a_staging_model_cleans_one_raw_table(project: Project) -> None:
    for name in project.business:
        if project.layer(name) != "staging":
            continue
        shops = {parent for parent in project.parents(name, "source") if ".raw." not in parent}
        assert len(shops) <= 1 or name.endswith("__touched"), (name, shops)
        for parent in project.parents(name):
            assert project.layer(parent) == "staging", (name, parent)


def test_every_source_table_is_read_and_described(project: Project) -> None:
    used = {
        parent
        for node in project.manifest.nodes.values()
        for parent in getattr(node.depends_on, "nodes", ())  # a seed depends on macros alone
    }
    tables = project.manifest.sources
    # what only people and the package read lies in ops
    unread = {name for name in tables.keys() - used if ".ops." not in name}
    assert sorted(unread) == []
    assert [name for name, table in tables.items() if not table.description] == []
    assert [name for name, table in tables.items() if not table.columns] == []


def test_no_model_names_a_table_in_place_of_a_reference(project: Project) -> None:
    # what the package keeps for the models' own bookkeeping is no model and no source of data
    allowed = re.compile(r"^(ops\.(touched|model_marks|publications|runs)|pg_temp\..*|pg_catalog\..*)$")
    schemas = r"(?:raw|staging|intermediate|warehouse|marts_build|marts|ops)"
    named = re.compile(rf"\b(?:from|join)\s+({schemas}\.\w+)", re.IGNORECASE)
    found = [
        (name, table)
        for name, node in project.models.items()
        for table in named.findall(node.raw_code)
        if not allowed.match(table)
    ]
    assert found == []


def test_what_reads_touched_rows_reads_no_table_whole(project: Project) -> None:
    """PostgreSQL computes a CTE that is used twice once, and whole: no condition reaches an index."""
    narrow = [
        node
        for node in (*project.models.values(), *project.tests)
        if node.config.materialized == "view"
        or node.config.get("incremental_strategy") == "touched_keys"
        or "is_day_touched" in node.raw_code
    ]
    assert len(narrow) > 40
    found = []
    for node in narrow:
        code = re.sub(r"--[^\n]*", "", node.raw_code)
        for cte in IMPORT.finditer(code):
            uses = len(re.findall(rf"\b(?:from|join) {cte['name']}\b", code))
            if uses > 1 and not cte["how"] and "touched" not in cte["filter"]:
                found.append((node.name, cte["name"]))
    assert found == []


def test_names_and_folders_say_what_a_model_is(project: Project) -> None:
    for name in project.business:
        node = project.models[name]
        layer, path = project.layer(name), Path(node.original_file_path)
        if layer == "staging":
            source = path.parts[2] if len(path.parts) > 3 else None
            prefix = rf"(stg|base)_{source}__" if source else r"stg_(?!.*__)"
        elif layer == "intermediate":
            prefix = "int_"
        elif layer == "warehouse":
            prefix = "(dim|fact)_"
        else:
            prefix = r"(?!stg_|base_|int_|dim_|fact_)"
            assert path.parts[2] in ("customer", "product", "sales", "marketing", "operations"), name
        assert re.match(prefix, node.name), name
        assert path.stem == node.name, name


def test_tests_and_descriptions_lie_beside_their_model(project: Project) -> None:
    for node in project.tests:
        model = getattr(node, "attached_node", None)
        if model in project.models:
            said = Path(project.models[model].patch_path.split("://")[1])
            assert Path(node.original_file_path) == said, node.name
            assert said.parent == Path(project.models[model].original_file_path).parent, node.name


def test_public_models_are_the_marts_and_exposures_read_nothing_else(project: Project) -> None:
    public = {name for name, node in project.models.items() if str(node.access) == "public"}
    assert public == {name for name in project.models if project.layer(name) == "marts"}
    for exposure in project.manifest.exposures.values():
        read = {name for name in exposure.depends_on.nodes if name in project.models}
        assert read <= public, exposure.name
        for name in read:
            assert project.models[name].config.materialized != "view", (exposure.name, name)


def test_every_mart_is_read_by_somebody(project: Project) -> None:
    read = {name for exposure in project.manifest.exposures.values() for name in exposure.depends_on.nodes}
    marts = {name for name in project.models if project.layer(name) == "marts"}
    assert sorted(marts - read) == []


def test_views_are_not_chained_further_than_the_layers_need(project: Project) -> None:
    depth: Counter[str] = Counter()

    def chained(name: str) -> int:
        if project.models[name].config.materialized != "view":
            return 0
        if name not in depth:
            depth[name] = 1 + max(
                (chained(p) for p in project.parents(name) if p in project.models), default=0
            )
        return depth[name]

    # base, stg of a source, stg united, an intermediate view on top
    assert {name: found for name in project.business if (found := chained(name)) > 4} == {}


def test_data_tests_are_many_and_every_rule_of_a_file_is_a_sentence(project: Project) -> None:
    names = [path.stem for path in (PROJECT_DIR / "dbt" / "tests").rglob("*.sql")]
    assert [name for name in names if len(name.split("_")) < 4] == []
    tested = {name for node in project.tests for name in node.depends_on.nodes}
    untested = {name for name in project.models.keys() - tested if not name.endswith(KEYLESS)}
    assert sorted(untested) == []
