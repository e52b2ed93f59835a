"""What is derived from the contracts and kept in the repository: dbt's sources and a macro."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ecommerce_dw.contracts.model import Column, Contract
from ecommerce_dw.contracts.reader import CONFORMED_ENTITIES
from ecommerce_dw.contracts.released import check_versions, released_files
from ecommerce_dw.generated import SyncResult, bring_current, read_text

Contracts = Mapping[str, Mapping[str, Contract]]

_WRITTEN_BY = "Written by `ecommerce-dw contracts sync` from the data contracts. Do not edit."

#: After the end of a business day its files may take this long until dbt's source freshness speaks (hours).
_GRACE_HOURS = 6

_TRAIL = {
    "_file_id": ("bigint", "File the row came from: `raw.load_ledger.file_id`."),
    "_line_number": ("bigint", "First physical line of the record in that file; the header is line 1."),
}


def sync(
    contracts: Contracts, project_dir: Path, *, contracts_dir: Path | None = None, dry_run: bool = False
) -> SyncResult:
    """Bring the derived files below a checkout to what the contracts say.

    With `contracts_dir` the record of what was released there is one of them. With `dry_run` nothing is
    written; the result says what would be.

    Raises:
        ecommerce_dw.contracts.released.VersionError: A version number does not fit what changed.
    """
    files = derived_files(contracts, project_dir)
    if contracts_dir is not None:
        check_versions(contracts, contracts_dir)
        files |= released_files(contracts, contracts_dir)
    sources = sorted((project_dir / "dbt" / "models" / "staging").glob("*/_*__sources.yml"))
    ours = [path for path in sources if _WRITTEN_BY in (read_text(path) or "")]
    return bring_current(files, removable=ours, dry_run=dry_run)


def derived_files(contracts: Contracts, project_dir: Path) -> dict[Path, str]:
    """Every derived file below a checkout with the text it should have."""
    dbt = project_dir / "dbt"
    files = {
        dbt / "models" / "staging" / source / f"_{source}__sources.yml": _sources_yml(source, entities)
        for source, entities in contracts.items()
    }
    files[dbt / "macros" / "generated" / "sources.sql"] = _sources_macro(contracts)
    return files


# ------------------------------------------------------------------------------------------------- dbt


def _sources_yml(source: str, entities: Mapping[str, Contract]) -> str:
    document = {
        "version": 2,
        "sources": [
            {
                "name": source,
                "schema": "raw",
                "description": f"Files of source system `{source}` as they arrived, one table per contract.",
                "tables": [_source_table(contract) for contract in entities.values()],
            }
        ],
    }
    body = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    return f"# {_WRITTEN_BY}\n{body}"


def _source_table(contract: Contract) -> dict[str, Any]:
    return {
        "name": contract.entity,
        "identifier": contract.table,
        "description": f"{contract.grain}. {contract.description}",
        "config": _freshness(contract),
        "columns": [_source_column(column) for column in contract.columns]
        + [
            {"name": name, "description": description, "data_type": type_}
            for name, (type_, description) in _TRAIL.items()
        ],
    }


def _freshness(contract: Contract) -> dict[str, Any]:
    """Age of the content: from the end of the greatest loaded business day until now."""
    if contract.max_staleness_days is None:
        return {"freshness": None}
    loaded_at = (
        f"select (max(business_date) + 1)::timestamp at time zone '{contract.time_zone}' "
        f"from raw.load_ledger "
        f"where source = '{contract.source}' and entity = '{contract.entity}' and status = 'loaded'"
    )
    return {
        "loaded_at_query": loaded_at,
        "freshness": {
            "warn_after": {"count": 24 + _GRACE_HOURS, "period": "hour"},
            "error_after": {"count": 24 * (contract.max_staleness_days + 1) + _GRACE_HOURS, "period": "hour"},
        },
    }


def _source_column(column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": column.name,
        "description": column.description,
        "data_type": column.type,
    }
    if column.pii != "none":
        entry["config"] = {"meta": {"pii": column.pii}}
    return entry


def _sources_macro(contracts: Contracts) -> str:
    feeding = {
        entity: [
            source
            for source, entities in contracts.items()
            if any(entity in contract.feeds for contract in entities.values())
        ]
        for entity in CONFORMED_ENTITIES
    }
    feeding["touched"] = list(contracts)
    # What has a key of its own can be delivered twice, an item can move to another order; what is known by
    # its values, or observed in rows about something else, cannot.
    for entity in CONFORMED_ENTITIES:
        feeding[f"keyed_{entity}"] = [
            source
            for source, entities in contracts.items()
            if any(entity in contract.feeds and contract.primary_key for contract in entities.values())
        ]
    lines = "\n".join(f"        '{entity}': {sources!r}," for entity, sources in feeding.items())
    firsts = {source: next(iter(entities.values())) for source, entities in contracts.items()}
    return (
        f"{{#- {_WRITTEN_BY} -#}}\n\n\n"
        "{#- The sources that feed a conformed entity, in alphabetical order; each has a model\n"
        "    stg_<source>__<entity>. `touched` is fed by every source; one that feeds order_items also has\n"
        "    stg_<source>__rejected_order_items. `keyed_<entity>`: of them those whose files give each row "
        "of the\n    entity a key of its own. -#}\n"
        "{%- macro sources_feeding(entity) -%}\n"
        "    {%- set sources = {\n"
        f"{lines}\n"
        "    } -%}\n"
        "    {%- do return(sources[entity]) -%}\n"
        "{%- endmacro -%}\n"
        + _case_macro(
            "source_time_zone",
            "SQL: the time zone of a source system, which decides its business day.",
            {source: contract.time_zone for source, contract in firsts.items()},
        )
        + _case_macro(
            "source_currency",
            "SQL: the currency of all amounts of a source system.",
            {source: contract.currency for source, contract in firsts.items()},
        )
    )


def _case_macro(name: str, comment: str, values: Mapping[str, str]) -> str:
    """A macro that gives an SQL expression for a value per source system."""
    cases = "".join(f"        when '{source}' then '{value}'\n" for source, value in values.items())
    return (
        f"\n\n{{#- {comment} -#}}\n"
        f"{{%- macro {name}(source_system) -%}}\n"
        f"    case {{{{ source_system }}}}\n{cases}    end\n"
        "{%- endmacro -%}\n"
    )
