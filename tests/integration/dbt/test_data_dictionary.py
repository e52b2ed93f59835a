"""The data dictionary in the repository is the one that contracts and dbt give."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from ecommerce_dw.cli import main
from ecommerce_dw.settings import PROJECT_DIR
from tests.support.dbt_warehouse import DbtWarehouse


def test_the_pages_are_current_and_a_change_is_noticed(built_once: DbtWarehouse, tmp_path: Path) -> None:
    manifest = built_once.incremental.manifest.writable_manifest().to_dict(omit_none=False)
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(manifest, default=str))

    current = CliRunner().invoke(main, ["dictionary", "--check", "--manifest", str(file)])
    assert current.exit_code == 0, current.output

    model = manifest["nodes"]["model.ecommerce_dw.fact_orders"]
    model["columns"]["order_id"]["description"] = "Another meaning."
    file.write_text(json.dumps(manifest, default=str))
    stale = CliRunner().invoke(main, ["dictionary", "--check", "--manifest", str(file), "--json"])
    assert stale.exit_code == 1
    assert json.loads(stale.output)["stale"] == ["docs/data-dictionary/warehouse.md"]

    model["columns"]["order_id"]["description"] = ""
    file.write_text(json.dumps(manifest, default=str))
    lacking = CliRunner().invoke(main, ["dictionary", "--check", "--manifest", str(file)])
    assert lacking.exit_code == 1
    assert "warehouse.fact_orders.order_id: no description." in lacking.output


def test_every_link_of_the_dictionary_leads_to_a_heading() -> None:
    docs = PROJECT_DIR / "docs"
    for page in (docs / "data-dictionary.md", *(docs / "data-dictionary").glob("*.md")):
        for target, anchor in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", page.read_text()):
            text = (page.parent / target).read_text()
            headings = {re.sub(r"[^\w-]", "", name) for name in re.findall(r"^## (.+)$", text, re.MULTILINE)}
            assert not anchor or anchor in headings, f"{page.name}: {target}#{anchor}"
