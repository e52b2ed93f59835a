"""What `dev` adds to the sample, and when it refuses."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.sample import (
    NoDayToSimulateError,
    SampleRequest,
    continue_sample,
    generate_sample,
    plan,
    read_sample,
    remember_landing,
)
from ecommerce_dw.settings import Settings
from shop_simulator import ENTITIES

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
    assert len(files(settings)) == 3 * len(ENTITIES)


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
    assert len(after) == len(before) + len(ENTITIES)


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
    remember_landing(settings, "online_retail", str(folder))
    remember_landing(settings, "ecommerce", str(tmp_path))
    assert settings.landing("online_retail") == folder
    assert settings.landing("ecommerce") == tmp_path
    monkeypatch.setenv("LANDING_ONLINE_RETAIL", str(tmp_path))
    assert settings.landing("online_retail") == tmp_path, "the environment wins"


def test_the_shop_lives_on_and_days_that_were_missed_are_made_up_for(settings: Settings) -> None:
    generate_sample(settings, SampleRequest(days=3, scale=0.1), TODAY)
    before = files(settings)
    sample, added = continue_sample(settings, today=TODAY + dt.timedelta(days=3))
    assert (sample.last, added) == (dt.date(2026, 3, 12), 3)
    assert before.items() <= files(settings).items()
    assert continue_sample(settings, today=TODAY + dt.timedelta(days=3))[1] == 0
    assert generate_sample(settings, SampleRequest(), TODAY + dt.timedelta(days=4))[1] == 1

    # The same files as if all days had been asked for at once.
    at_once = settings.model_copy(update={"ecommerce_dw_home": settings.home / "at once"})
    generate_sample(at_once, SampleRequest(days=7, scale=0.1), TODAY + dt.timedelta(days=4))
    assert files(at_once) == files(settings)


def test_a_sample_made_up_to_a_day_stays_there_unless_a_person_asks(settings: Settings) -> None:
    generate_sample(settings, SampleRequest(days=3, scale=0.1, end=dt.date(2026, 1, 31)), TODAY)
    before = files(settings)
    for date in (None, dt.date(2026, 3, 9)):
        with pytest.raises(NoDayToSimulateError, match=r"ends on 2026-01-31.*--end"):
            continue_sample(settings, date, is_asked=False, today=TODAY)
    assert files(settings) == before
    assert continue_sample(settings, dt.date(2026, 2, 1), today=TODAY)[1] == 1
    assert continue_sample(settings, dt.date(2026, 2, 1), today=TODAY)[1] == 0
    generate_sample(settings, SampleRequest(), dt.date(2026, 2, 2))  # `dev` without --end lets it live on
    assert continue_sample(settings, is_asked=False, today=dt.date(2026, 2, 3))[1] == 1


def test_no_day_is_simulated_where_it_does_not_belong(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoDayToSimulateError, match=r"no sample shop.*\./deploy\.sh dev"):
        continue_sample(settings, today=TODAY)
    generate_sample(settings, SampleRequest(days=3, scale=0.1), TODAY)
    before = files(settings)
    with pytest.raises(NoDayToSimulateError, match="2026-03-10 is not over"):
        continue_sample(settings, TODAY, today=TODAY)
    production = settings.model_copy(update={"ecommerce_dw_environment": "production"})
    with pytest.raises(NoDayToSimulateError, match="in development alone"):
        continue_sample(production, today=TOMORROW)
    other = tmp_path / "real files"
    other.mkdir()
    with monkeypatch.context() as patch:
        patch.setenv("LANDING_ECOMMERCE", str(other))
        with pytest.raises(NoDayToSimulateError, match="is not the sample's"):
            continue_sample(settings, today=TOMORROW)
    assert list(other.iterdir()) == []
    assert files(settings) == before
    settings.landing("ecommerce").rename(tmp_path / "moved away")
    with pytest.raises(NoDayToSimulateError, match="files are gone"):
        continue_sample(settings, today=TOMORROW)
    assert not settings.landing("ecommerce").exists()


def test_a_sample_of_an_earlier_simulator_gets_no_more_days(settings: Settings) -> None:
    generate_sample(settings, SampleRequest(days=2, scale=0.1), TODAY)
    before = files(settings)
    state_file = settings.home / "sample.json"
    state = json.loads(state_file.read_text())
    del state["simulator"]  # the first version did not write it
    state_file.write_text(json.dumps(state))
    sample, added = generate_sample(settings, SampleRequest(), TOMORROW)
    assert (sample.last, added, sample.can_go_on) == (dt.date(2026, 3, 9), 0, False)
    with pytest.raises(NoDayToSimulateError, match="earlier version of the simulator"):
        continue_sample(settings, today=TOMORROW)
    assert files(settings) == before
