"""A small shop's landing zone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from ecommerce_dw.settings import Settings
from shop_simulator import generate

OPENING = dt.date(2026, 3, 1)
LAST = dt.date(2026, 3, 10)


@pytest.fixture(scope="session")
def shop_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten days of a small shop."""
    folder = tmp_path_factory.mktemp("shop")
    generate(folder, opening=OPENING, first=OPENING, last=LAST, scale=0.2)
    return folder


@pytest.fixture
def settings(
    make_settings: Callable[..., Settings], shop_files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Settings:
    """An empty warehouse whose landing zone has those days, as links: a test may replace one by a file."""
    landing = tmp_path / "landing"
    for file in shop_files.rglob("*.csv"):
        link = landing / file.relative_to(shop_files)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(file)
    monkeypatch.setenv("LANDING_ECOMMERCE", str(landing))
    return make_settings()
