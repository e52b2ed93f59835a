"""Great Expectations' Data Docs: one site per run under `<home>/data_docs/<run>`, the oldest pruned."""

from __future__ import annotations

import html
import shutil
from pathlib import Path

from ecommerce_dw.settings import Settings


def results_dir(settings: Settings, run_id: str) -> Path:
    """Folder in which a run's validation results are kept until its site is rendered."""
    return _run_dir(settings, run_id) / "results"


def build_data_docs(settings: Settings, run_id: str) -> Path | None:
    """Render a run's site from the results its checkpoints kept, and prune older runs' sites.

    A function (and a task) of its own: rendering takes as long as validating, and a failure of it must not
    stop a run.

    Args:
        settings: `data_docs_keep` runs stay.
        run_id: The run.

    Returns:
        The path of the site's first page, or None when nothing of this run was validated.
    """
    results = results_dir(settings, run_id)
    checkpoints = sorted(path for path in results.glob("*") if path.is_dir()) if results.exists() else []
    if not checkpoints:
        return None
    from ecommerce_dw.quality import gx

    run_dir = _run_dir(settings, run_id)
    for name in ("site", "all"):
        shutil.rmtree(run_dir / name, ignore_errors=True)
    for checkpoint in checkpoints:
        shutil.copytree(checkpoint, run_dir / "all", dirs_exist_ok=True)
    gx.context(run_dir / "all", run_dir / "site", f"Run {run_id}").build_data_docs()
    shutil.rmtree(run_dir / "all")
    run_dir.touch()
    _prune(settings)
    _write_index(settings)
    return run_dir / "site" / "index.html"


def _run_dir(settings: Settings, run_id: str) -> Path:
    name = "".join(character if character.isalnum() or character in "._-" else "-" for character in run_id)
    return settings.home / "data_docs" / name


def _runs(settings: Settings) -> list[Path]:
    """Folders of the runs, newest first."""
    folders = [path for path in (settings.home / "data_docs").glob("*") if path.is_dir()]
    return sorted(folders, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def _prune(settings: Settings) -> None:
    for folder in _runs(settings)[settings.data_docs_keep :]:
        shutil.rmtree(folder, ignore_errors=True)


def _write_index(settings: Settings) -> None:
    """A first page that lists the runs kept."""
    links = "\n".join(
        f'<li><a href="{folder.name}/site/index.html">{html.escape(folder.name)}</a></li>'
        for folder in _runs(settings)
        if (folder / "site" / "index.html").exists()
    )
    page = settings.home / "data_docs" / "index.html"
    partial = page.with_suffix(".partial")
    partial.write_text(
        "<!doctype html><meta charset=utf-8><title>Data Docs</title><h1>Validated runs</h1>\n"
        f"<ul>\n{links}\n</ul>\n",
        encoding="utf-8",
    )
    partial.replace(page)
