"""What `dev` adds to the sample, and when it refuses."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.sample import (
    SampleRequest,
    generate_sample,
    plan,
    read_sample,
    remember_landing,
)
from ecommerce_dw.settings import Settings

TODAY = dt.date(2026, 3, 10)
TOMORROW = TODAY + dt.timedelta(days=1)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("LANDING_ECOMMERCE", raising=False)
    return Settings(_env_file=None, ecommerce_dw_home=tmp_path / "a home")


def files(settings: Settings) -> dict[str, bytes]:
    landing = settings.landing("ecommerce")
    return {str(path.relative_to(landing)): path.read_bytes() for path in landing.rglob("*.csv")}


def test_sample_ends_yesterday(settings: Settings) -> None:
    sample, added = generate_sample(settings, SampleRequest(days=3, scale=0.1), TODAY)
    assert (sample.opening, sample.last, added) == (dt.date(2026, 3, 7), dt.date(2026, 3, 9), 3)
    assert len(files(settings)) == 12


def test_second_call_adds_nothing(settings: Settings) -> None:
    generate_sample(settings, SampleRequest(days=3, scale=0.1), TODAY)
    before = files(settings)
    assert generate_sample(settings, SampleRequest(days=3, scale=0.1), TODAY)[1] == 0
    assert generate_sample(settings, SampleRequest(), TODAY)[1] == 0
    assert files(settings) == before


def test_later_day_adds_the_missing_days_alone(settings: Settings) -> None:
    generate_sample(settings, SampleRequest(days=3, scale=0.1), TODAY)
    before = files(settings)
    sample, added = generate_sample(settings, SampleRequest(days=3), TOMORROW)
    assert (sample.opening, sample.last, added) == (dt.date(2026, 3, 7), dt.date(2026, 3, 10), 1)
    after = files(settings)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 4


def test_interrupted_generation_goes_on_as_the_same_shop(settings: Settings) -> None:
    def interrupt(day: dt.date, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_sample(settings, SampleRequest(days=4, scale=0.1, seed=7), TODAY, interrupt)
    sample, added = generate_sample(settings, SampleRequest(), TODAY)
    assert (sample.seed, sample.scale, added) == (7, 0.1, 4)
    known = read_sample(settings)
    assert known == sample


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (SampleRequest(seed=1), "seed 1 in place of 42"),
        (SampleRequest(scale=2.0), "scale 2 in place of 0.1"),
        (SampleRequest(days=5), "opening date 2026-03-05 in place of 2026-03-07"),
        (SampleRequest(days=3, end=dt.date(2026, 3, 10)), "opening date 2026-03-08 in place of 2026-03-07"),
    ],
)
def test_another_shop_is_refused_by_name(settings: Settings, request_: SampleRequest, named: str) -> None:
    generate_sample(settings, SampleRequest(days=3, scale=0.1), TODAY)
    before = files(settings)
    with pytest.raises(PlatformError, match=named) as refusal:
        generate_sample(settings, request_, TODAY)
    assert "./deploy.sh reset --yes" in str(refusal.value)
    assert files(settings) == before


def test_seed_zero_is_a_seed(tmp_path: Path) -> None:
    sample, _ = plan(None, SampleRequest(seed=0), TODAY, tmp_path)
    assert sample.seed == 0


def test_remembered_landing_is_what_settings_say(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'it\'s a "shop" with spaces'
    folder.mkdir()
    remember_landing(settings, "online_retail", folder)
    remember_landing(settings, "ecommerce", tmp_path)
    assert settings.landing("online_retail") == folder
    assert settings.landing("ecommerce") == tmp_path
    monkeypatch.setenv("LANDING_ONLINE_RETAIL", str(tmp_path))
    assert settings.landing("online_retail") == tmp_path, "the environment wins"
