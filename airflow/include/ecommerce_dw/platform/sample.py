"""The sample shop: generated once, continued day by day, never mixed with another one."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dotenv import dotenv_values

from ecommerce_dw.platform.configuration import write_private
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.settings import NoLandingFolderError, Settings

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
        lives_on: Whether a day is added each night; not so where its last day was asked for.
        simulator: Version of the simulator that made it. Another one would go on as another shop.
    """

    opening: dt.date
    last: dt.date
    days: int
    seed: int
    scale: float
    landing: Path
    lives_on: bool = True
    simulator: int = 1

    @property
    def can_go_on(self) -> bool:
        """Whether this simulator makes the same shop's next days."""
        from shop_simulator import SIMULATOR_VERSION

        return self.simulator == SIMULATOR_VERSION


class NoDayToSimulateError(PlatformError):
    """The sample can't be continued here; the message says why and what to do. Nothing was written."""


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
        state.get("lives_on", True),
        state.get("simulator", 1),
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
    from shop_simulator import SIMULATOR_VERSION

    end = request.end or today - dt.timedelta(days=1)
    if known is None:
        days = DEFAULT_DAYS if request.days is None else request.days
        opening = end - dt.timedelta(days=days - 1)
        seed = DEFAULT_SEED if request.seed is None else request.seed
        scale = DEFAULT_SCALE if request.scale is None else request.scale
        lives_on = request.end is None
        return Sample(opening, end, days, seed, scale, landing, lives_on, SIMULATOR_VERSION), opening
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
    wanted = replace(known, last=max(known.last, end), lives_on=request.end is None)
    return wanted, known.last + dt.timedelta(days=1)


def generate_sample(
    settings: Settings,
    request: SampleRequest,
    today: dt.date,
    progress: Callable[[dt.date, int, int], None] | None = None,
) -> tuple[Sample, int]:
    """Write the days that are missing.

    Returns:
        The sample as it is now, and how many days were added: none to a sample that another version of
        the simulator made.

    Raises:
        PlatformError: The request is for another shop, or the landing zone can't be written.
    """
    with _only_writer(settings):
        known = read_sample(settings)
        if known is not None and not known.landing.exists():
            known = None  # the files are gone: make them again
        wanted, first = plan(known, request, today, settings.landing(SOURCE))
        if known is not None and not known.can_go_on:
            return known, 0
        return wanted, _add_days(settings, known, wanted, first, progress)


def continue_sample(
    settings: Settings,
    date: dt.date | None = None,
    *,
    is_asked: bool = True,
    today: dt.date | None = None,
) -> tuple[Sample, int]:
    """Let the sample shop live on: write the days that are missing up to a date.

    Args:
        settings: Whose sample.
        date: Last day to write. None: yesterday, where the sample lives on.
        is_asked: Whether a person asks for this date; a schedule adds no days to a sample whose last day was
            asked for.
        today: The current day (UTC); None asks the clock.

    Returns:
        The sample as it is now, and how many days were added: also those that were missed before.

    Raises:
        NoDayToSimulateError: There is no sample, it ends where it was asked to, its files are not in the
            landing folder in use, that is a bucket, another version of the simulator made it, the date is not
            over, or this is not a development environment.
        PlatformError: The landing zone can't be written.
    """
    if settings.ecommerce_dw_environment != "development":
        raise NoDayToSimulateError(
            "Days are simulated in development alone, and ECOMMERCE_DW_ENVIRONMENT is "
            f"{settings.ecommerce_dw_environment}."
        )
    yesterday = (today or dt.datetime.now(dt.UTC).date()) - dt.timedelta(days=1)
    try:
        landing = settings.landing(SOURCE)
    except NoLandingFolderError as error:
        raise NoDayToSimulateError(f"{error} Days are simulated into a folder alone.") from error
    with _only_writer(settings):
        known = read_sample(settings)
        if known is None:
            raise NoDayToSimulateError(
                f"There is no sample shop in {settings.home} to go on with. `./deploy.sh dev` makes one."
            )
        if known.landing != landing:
            raise NoDayToSimulateError(
                f"The landing folder {landing} is not the sample's ({known.landing}): simulated days do not "
                "belong among other files."
            )
        if not landing.exists():
            raise NoDayToSimulateError(
                f"The sample's files are gone from {landing}. `./deploy.sh dev` makes them again."
            )
        if not known.can_go_on:
            raise NoDayToSimulateError(
                f"The sample ends on {known.last}: an earlier version of the simulator made it, and this one "
                "would go on as another shop. `./deploy.sh reset --yes` and `./deploy.sh dev` start over."
            )
        if not known.lives_on and (date is None or not is_asked):
            raise NoDayToSimulateError(
                f"The sample ends on {known.last}, as was asked for with --end. `./deploy.sh dev` without "
                "--end lets it live on; a date adds the days up to it."
            )
        if date is not None and date > yesterday:
            raise NoDayToSimulateError(
                f"{date} is not over (UTC), so the shop can't have delivered it. The last day is {yesterday}."
            )
        wanted = replace(known, last=max(known.last, date or yesterday))
        return wanted, _add_days(settings, known, wanted, known.last + dt.timedelta(days=1))


def _add_days(
    settings: Settings,
    known: Sample | None,
    wanted: Sample,
    first: dt.date,
    progress: Callable[[dt.date, int, int], None] | None = None,
) -> int:
    from shop_simulator import generate

    if first > wanted.last:
        if wanted != known:
            _write(settings, wanted)
        return 0
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
    return (wanted.last - first).days + 1


@contextlib.contextmanager
def _only_writer(settings: Settings) -> Iterator[None]:
    """Wait until no other process adds days: `dev` and the nightly task may come at the same time."""
    path = settings.home / "run" / "sample.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remember_landing(settings: Settings, source: str, address: str) -> None:
    """Remember a source's landing folder or bucket for later commands and for the scheduler."""
    known = dotenv_values(settings.landing_file)
    known[f"LANDING_{source.upper()}"] = address
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
