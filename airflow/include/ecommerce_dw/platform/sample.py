"""The sample shop: generated once, continued day by day, never mixed with another one."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dotenv import dotenv_values

from ecommerce_dw.platform.configuration import write_private
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.settings import Settings

DEFAULT_DAYS = 730
DEFAULT_SCALE = 1.0
DEFAULT_SEED = 42

#: The source that the sample feeds.
SOURCE = "ecommerce"


@dataclass(frozen=True)
class Sample:
    """What was generated into the landing zone.

    Attributes:
        opening: First day of the shop.
        last: Last day that was generated.
        days: How many days it had when it was made.
        seed: Another seed is another shop.
        scale: Size of the shop.
        landing: Where its files are.
    """

    opening: dt.date
    last: dt.date
    days: int
    seed: int
    scale: float
    landing: Path


@dataclass(frozen=True)
class SampleRequest:
    """What was asked for; None means not asked for."""

    days: int | None = None
    end: dt.date | None = None
    seed: int | None = None
    scale: float | None = None


def read_sample(settings: Settings) -> Sample | None:
    """What was generated so far."""
    try:
        state = json.loads(_state_file(settings).read_text())
    except FileNotFoundError:
        return None
    return Sample(
        dt.date.fromisoformat(state["opening"]),
        dt.date.fromisoformat(state["last"]),
        state["days"],
        state["seed"],
        state["scale"],
        settings.home / state["landing"],
    )


def plan(
    known: Sample | None, request: SampleRequest, today: dt.date, landing: Path
) -> tuple[Sample, dt.date]:
    """What is to be there in the end, and the first day that is still missing.

    Args:
        known: What was generated so far.
        request: What is asked for now.
        today: The current day (UTC): a shop's last day is yesterday unless `end` says otherwise.
        landing: Where the files go.

    Raises:
        PlatformError: The request is for another shop than the one that was generated.
    """
    end = request.end or today - dt.timedelta(days=1)
    if known is None:
        days = DEFAULT_DAYS if request.days is None else request.days
        opening = end - dt.timedelta(days=days - 1)
        seed = DEFAULT_SEED if request.seed is None else request.seed
        scale = DEFAULT_SCALE if request.scale is None else request.scale
        return Sample(opening, end, days, seed, scale, landing), opening
    differences = []
    if request.seed is not None and request.seed != known.seed:
        differences.append(f"seed {request.seed} in place of {known.seed}")
    if request.scale is not None and request.scale != known.scale:
        differences.append(f"scale {request.scale:g} in place of {known.scale:g}")
    if request.days is not None:
        # Said again on a later day, without an end, `--days` means the shop that was made with it.
        opening = end - dt.timedelta(days=request.days - 1)
        is_said_again = request.end is None and request.days == known.days
        if opening != known.opening and not is_said_again:
            differences.append(f"opening date {opening} in place of {known.opening}")
    if landing != known.landing:
        differences.append(f"landing folder {landing} in place of {known.landing}")
    if differences:
        raise PlatformError(
            f"The sample that is there is another shop: asked for was {', '.join(differences)}. "
            "Two shops can't share a landing zone. Nothing was changed. Run ./deploy.sh reset --yes to "
            "start over, or leave these options out to go on with the shop that is there."
        )
    return replace(known, last=max(known.last, end)), known.last + dt.timedelta(days=1)


def generate_sample(
    settings: Settings,
    request: SampleRequest,
    today: dt.date,
    progress: Callable[[dt.date, int, int], None] | None = None,
) -> tuple[Sample, int]:
    """Write the days that are missing.

    Returns:
        The sample as it is now, and how many days were added.

    Raises:
        PlatformError: The request is for another shop, or the landing zone can't be written.
    """
    from shop_simulator import generate

    known = read_sample(settings)
    if known is not None and not known.landing.exists():
        known = None  # the files are gone: make them again
    wanted, first = plan(known, request, today, settings.landing(SOURCE))
    if first > wanted.last:
        return wanted, 0
    try:
        if known is None:
            # Remembered before the first file, so that an interruption is gone on with, not mixed up.
            _write(settings, replace(wanted, last=wanted.opening - dt.timedelta(days=1)))
        generate(
            wanted.landing,
            first=first,
            last=wanted.last,
            opening=wanted.opening,
            scale=wanted.scale,
            seed=wanted.seed,
            progress=progress,
        )
    except OSError as error:
        raise PlatformError(
            f"The sample could not be written to {wanted.landing}: {error}. Whole files that were written "
            "are kept; run again when it is mended."
        ) from error
    except (ValueError, OverflowError) as error:
        raise PlatformError(f"Such a sample can't be made: {error}.") from error
    _write(settings, wanted)
    return wanted, (wanted.last - first).days + 1


def remember_landing(settings: Settings, source: str, folder: Path) -> None:
    """Remember a source's landing folder for later commands and for the scheduler."""
    known = dotenv_values(settings.landing_file)
    known[f"LANDING_{source.upper()}"] = str(folder)
    lines = ["# Written by ./deploy.sh dev --landing."]
    for name, value in sorted(known.items()):
        quoted = (value or "").replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{name}='{quoted}'")
    write_private(settings.landing_file, "\n".join(lines) + "\n")


def _write(settings: Settings, sample: Sample) -> None:
    landing = sample.landing
    if landing.is_relative_to(settings.home):
        landing = landing.relative_to(settings.home)  # so that the home can be moved
    state = asdict(replace(sample, landing=landing))
    write_private(_state_file(settings), json.dumps(state, default=str, indent=2) + "\n")


def _state_file(settings: Settings) -> Path:
    return settings.home / "sample.json"
