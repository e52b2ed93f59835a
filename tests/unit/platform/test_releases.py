"""Which release is deployed, which one was before, and which ones are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ecommerce_dw.platform import releases
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.releases import Release
from ecommerce_dw.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, ecommerce_dw_home=tmp_path)


@pytest.fixture
def make(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Release]:
    """Makes a release; the newest is the one whose program this is."""

    def make_release(name: str) -> Release:
        folder = settings.home / "releases" / name
        (folder / "venv").mkdir(parents=True)
        monkeypatch.setattr(releases, "PROJECT_DIR", folder)
        return Release(folder)

    return make_release


def test_a_program_of_no_release_says_what_makes_one(settings: Settings) -> None:
    with pytest.raises(PlatformError, match=r"deploy\.sh prod"):
        releases.this_release(settings)


def test_the_release_before_is_the_one_that_was_current(
    settings: Settings, make: Callable[[str], Release]
) -> None:
    assert releases.current(settings) is None is releases.previous(settings)
    first, second = make("1"), make("2")
    releases.make_current(settings, first)
    assert (releases.current(settings), releases.previous(settings)) == (first, None)
    releases.make_current(settings, second)
    assert (releases.current(settings), releases.previous(settings)) == (second, first)
    releases.make_current(settings, second)
    assert (releases.current(settings), releases.previous(settings)) == (second, first)
    releases.make_current(settings, first)  # a rollback
    assert (releases.current(settings), releases.previous(settings)) == (first, second)


def test_all_but_the_current_and_the_one_before_are_deleted(
    settings: Settings, make: Callable[[str], Release]
) -> None:
    made = [make(name) for name in ("1", "2", ".half-made", "3")]
    for release in (made[0], made[1], made[3]):
        releases.make_current(settings, release)
    assert releases.prune(settings) == [".half-made", "1"]
    assert sorted(path.name for path in (settings.home / "releases").iterdir()) == ["2", "3"]
    assert (releases.current(settings), releases.previous(settings)) == (made[3], made[1])


def test_a_release_remembers_the_metadata_it_ran_on(make: Callable[[str], Release]) -> None:
    release = make("1")
    assert release.metadata_revision is None
    release.remember_revision("0123456789ab")
    assert Release(release.folder).metadata_revision == "0123456789ab"
