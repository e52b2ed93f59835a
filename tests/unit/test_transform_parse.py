"""Parsing the dbt project needs no database."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ecommerce_dw import transform
from ecommerce_dw.settings import PROJECT_DIR, Settings
from ecommerce_dw.transform import BuildError, parse

PROJECT = """
name: ecommerce_dw
profile: ecommerce_dw
config-version: 2
models:
  ecommerce_dw: {+group: people}
"""
GROUP = """
groups:
  - name: people
    owner: {name: people, email: people@example.com}
"""
MODEL = """
models:
  - name: gone
unit_tests:
  - name: gone_is_one
    model: gone
    given: []
    expect: {rows: [{one: 1}]}
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models of a project of two, one with a unit test."""
    models = tmp_path / "project" / "models"
    models.mkdir(parents=True)
    (models.parent / "dbt_project.yml").write_text(PROJECT)
    shutil.copy(PROJECT_DIR / "dbt" / "profiles.yml", models.parent)
    (models / "kept.sql").write_text("select 1 as one")
    (models / "gone.sql").write_text("select 1 as one")
    (models / "models.yml").write_text(GROUP + MODEL)
    monkeypatch.setattr(Settings, "dbt_dir", models.parent)
    return models


def test_a_new_version_without_a_model_and_its_unit_test_is_parsed(models: Path, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, ecommerce_dw_home=tmp_path / "home")
    parse(settings)
    (models / "gone.sql").unlink()
    (models / "models.yml").write_text(GROUP)
    manifest = json.loads((parse(settings) / "manifest.json").read_text())
    assert [node["name"] for node in manifest["nodes"].values()] == ["kept"]
    assert not manifest["unit_tests"]


def test_what_cannot_be_parsed_is_an_error_with_its_file(models: Path, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, ecommerce_dw_home=tmp_path / "home")
    parse(settings)
    (models / "gone.sql").unlink()
    with pytest.raises(BuildError, match=r"Unable to find model .* in models/models.yml"):
        parse(settings)


@pytest.mark.usefixtures("models")
def test_a_run_on_another_port_parses_all_once(tmp_path: Path) -> None:
    parse(Settings(_env_file=None, ecommerce_dw_home=tmp_path, warehouse_port=5001))
    shared = tmp_path / "dbt" / "target" / "partial_parse.msgpack"
    settings = Settings(_env_file=None, ecommerce_dw_home=tmp_path, warehouse_port=5002)
    times = [shared.stat().st_mtime_ns]
    for layer in ("staging", "warehouse"):
        run_folder = tmp_path / layer
        run_folder.mkdir()
        transform._begin_with_shared_parse(run_folder, settings)
        transform._invoke(["parse"], run_folder, settings)
        times.append(shared.stat().st_mtime_ns)
    assert times[0] < times[1] == times[2]
