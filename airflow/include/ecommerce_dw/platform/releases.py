"""Releases on this host: copies of the project's files, each with its own environment, in `<home>/releases`.

`./deploy.sh prod` makes one per content (the same files give the same name). `<home>/current` is the release
that is deployed, `<home>/previous` the one before it, which a rollback goes back to.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ecommerce_dw.platform.configuration import write_private
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.settings import PROJECT_DIR, Settings


@dataclass(frozen=True)
class Release:
    """A release.

    Attributes:
        folder: Its files; `venv` in it is its environment.
    """

    folder: Path

    @property
    def name(self) -> str:
        """What people call it: `<version>-<digest of the content>`."""
        return self.folder.name

    @property
    def program(self) -> str:
        """Its `ecommerce-dw`."""
        return str(self.folder / "venv" / "bin" / "ecommerce-dw")

    @property
    def metadata_revision(self) -> str | None:
        """The revision of Airflow's metadata it was deployed on; None when it never was."""
        file = self._revision_file
        return file.read_text() if file.exists() else None

    def remember_revision(self, revision: str) -> None:
        """Keep that it works on this revision of Airflow's metadata."""
        write_private(self._revision_file, revision)

    @property
    def _revision_file(self) -> Path:
        return self.folder / "metadata-revision"


def this_release(settings: Settings) -> Release:
    """The release whose program this is.

    Raises:
        PlatformError: This program belongs to no release.
    """
    if PROJECT_DIR.parent != _releases(settings):
        raise PlatformError(
            f"{PROJECT_DIR} is no release of {settings.home}. Use ./deploy.sh prod, which makes one."
        )
    return Release(PROJECT_DIR)


def current(settings: Settings) -> Release | None:
    """The release that is deployed."""
    return _linked(settings.home / "current")


def previous(settings: Settings) -> Release | None:
    """The release that was deployed before it."""
    return _linked(settings.home / "previous")


def make_current(settings: Settings, release: Release) -> None:
    """Say that a release is deployed; the one that was is the previous one from now on."""
    before = current(settings)
    if before == release:
        return
    if before is not None:
        _link(settings.home / "previous", before)
    _link(settings.home / "current", release)


def prune(settings: Settings) -> list[str]:
    """Delete all but the current and the previous release; the names of those deleted."""
    kept = {current(settings), previous(settings), this_release(settings)}
    compiled = settings.home / "cache" / "python"
    deleted = []
    for folder in sorted(path for path in _releases(settings).iterdir() if path.is_dir()):
        if Release(folder) not in kept:
            shutil.rmtree(folder)
            shutil.rmtree(compiled / folder.relative_to("/"), ignore_errors=True)
            deleted.append(folder.name)
    return deleted


def _releases(settings: Settings) -> Path:
    return settings.home / "releases"


def _linked(link: Path) -> Release | None:
    return Release(link.resolve()) if link.is_symlink() and link.exists() else None


def _link(link: Path, release: Release) -> None:
    building = link.with_name(f".{link.name}.{os.getpid()}")
    building.unlink(missing_ok=True)
    building.symlink_to(release.folder, target_is_directory=True)
    building.replace(link)
