"""Thirty days of a shop in which everything goes wrong, against one clean run over the same good data.

Each day the shop delivers, and the day is loaded, built and published. Some files come late, some again, some
broken before they come right, some with nothing good in them; steps are killed, or the server under them, and
a plain rerun follows. At the end every table is what it is after one run over the good files.
"""

from __future__ import annotations

import datetime as dt
import gzip
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.loading import load
from ecommerce_dw.settings import PROJECT_DIR
from shop_simulator import ENTITIES, generate
from tests.faults.bad_files import DAY, BadFile, catalogue
from tests.support.deliveries import Build, Kill, Load, Publish
from tests.support.shop_life import LawsDatabase, ShopLife, differences

pytestmark = pytest.mark.long

FIRST = dt.date.fromisoformat(DAY)
DAYS = [FIRST + dt.timedelta(days=n) for n in range(30)]
KILLS, LATE, AGAIN = 50, 5, 3
#: Real files that come broken and a day later right, and files of the catalogue that nothing loads of.
BROKEN, WORTHLESS = 10, 10
#: What is killed.
STEPS = {"load": Load, "build": Build, "publish": Publish}
SEED = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(2**32))


def _half_of_gzip(data: bytes) -> tuple[str, bytes]:
    packed = gzip.compress(data, mtime=0)
    return ".gz", packed[: len(packed) // 2]


def _half(data: bytes) -> tuple[str, bytes]:
    return "", data[: len(data) // 2]


def _junk_between(data: bytes) -> tuple[str, bytes]:
    header, _, rows = data.partition(b"\n")
    return "", header + b'\n"never,closed\n;;;\n' + rows


def _without_header(data: bytes) -> tuple[str, bytes]:
    return "", data.partition(b"\n")[2]


def _utf_16(data: bytes) -> tuple[str, bytes]:
    return "", data.decode().encode("utf-16")


def _nothing(_: bytes) -> tuple[str, bytes]:
    return "", b""


#: What breaks a file: a suffix of its name, and its bytes.
BREAKS: tuple[Callable[[bytes], tuple[str, bytes]], ...] = (
    _half_of_gzip,
    _half,
    _junk_between,
    _without_header,
    _utf_16,
    _nothing,
)


@dataclass
class Plan:
    """What happens on which day.

    Attributes:
        good: Files that come whole, by day of arrival: their paths.
        broken: Files that come broken, by day: path and how.
        worthless: Files of the catalogue, by day.
    """

    good: dict[dt.date, list[str]] = field(default_factory=lambda: defaultdict(list))
    broken: dict[dt.date, list[tuple[str, Callable[[bytes], tuple[str, bytes]]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    worthless: dict[dt.date, list[BadFile]] = field(default_factory=lambda: defaultdict(list))


def _plan(chance: random.Random, folder: Path, bad_files: list[BadFile]) -> Plan:
    plan = Plan()
    files = {
        f"{entity}/dt={day}/{entity}.csv": day
        for day in DAYS
        for entity in ENTITIES
        if (folder / f"{entity}/dt={day}/{entity}.csv").exists()
    }
    early = [path for path, day in files.items() if day < DAYS[-1]]
    special = chance.sample(early, LATE + AGAIN + BROKEN)
    late, again, broken = special[:LATE], special[LATE : LATE + AGAIN], special[LATE + AGAIN :]
    for path, day in files.items():
        if path in late:
            plan.good[chance.choice([d for d in DAYS if d > day])].append(path)
        elif path in broken:
            plan.broken[day].append((path, chance.choice(BREAKS)))
            plan.good[day + dt.timedelta(days=1)].append(path)
        else:
            plan.good[day].append(path)
        if path in again:
            plan.good[chance.choice([d for d in DAYS if d > day])].append(path)
    for bad in chance.sample(bad_files, WORTHLESS):
        plan.worthless[chance.choice(DAYS)].append(bad)
    return plan


class ThirtyDays(ShopLife):
    """The life of the shop, by a plan."""

    def __init__(self, database: LawsDatabase, folder: Path) -> None:
        super().__init__(database)
        self.folder = folder
        self.kills: Counter[tuple[str, str]] = Counter()

    def deliver(self, plan: Plan, day: dt.date) -> None:
        """Put everything of a day where it lands. What came broken is taken away when it comes right."""
        landing = self.settings.landing("ecommerce")
        for path in plan.good[day]:
            (landing / f"{path}.gz").unlink(missing_ok=True)
            self.put("ecommerce", path, (self.folder / path).read_bytes())
        for path, how in plan.broken[day]:
            suffix, data = how((self.folder / path).read_bytes())
            self.put("ecommerce", path + suffix, data)
        for bad in plan.worthless[day]:
            target = landing / bad.path
            target.parent.mkdir(parents=True, exist_ok=True)
            bad.place(target)

    def go_on(self) -> None:
        """Load, build and publish, plainly."""
        load(self.settings)  # not `self.load`: files of this shop are refused
        self.build(Build())
        self.publish(Publish())

    def kill(self, step: str, kill: Kill) -> None:
        """Let a step be killed; one that is shorter than thought comes to its end."""
        before = self.killed
        self.happen(STEPS[step](kill=kill))
        self.kills[step, kill.victim] += self.killed - before

    def files(self) -> dict[str, int]:
        """Versions of files by what became of them."""
        versions = self.database.query("select status, count(*) from raw.load_ledger group by 1 order by 1")
        return dict(versions)


def test_thirty_days_of_faults_end_as_one_clean_run(
    database: LawsDatabase, tmp_path: Path, figure: Callable[..., None]
) -> None:
    chance = random.Random(SEED)
    generate(tmp_path, first=DAYS[0], last=DAYS[-1], scale=0.5, seed=SEED % 1000)
    contracts = read_contracts(PROJECT_DIR / "airflow" / "include" / "contracts")
    nothing_of_it = [
        bad
        for bad in catalogue(contracts)
        if bad.source == "ecommerce" and bad.outcome in ("refused", "unreadable")
    ]
    plan = _plan(chance, tmp_path, nothing_of_it)

    life = ThirtyDays(database, tmp_path)
    for number, day in enumerate(DAYS, start=1):
        life.deliver(plan, day)
        due = KILLS * number // len(DAYS)
        while life.killed < due:
            # the steps before it are done plainly, so that each has what it works on
            step = chance.choice([*STEPS])
            kill = Kill(chance.randrange(1000), "server" if chance.random() < 0.2 else "process")
            if step != "load":
                load(life.settings)
            if step == "publish":
                life.build(Build())
            life.kill(step, kill)
        life.go_on()
    state = life.state()
    files = life.files()
    rows = sum(entry[0] for name, entry in state.items() if name.startswith("marts."))

    clean = ThirtyDays(database, tmp_path)
    for path in {path for paths in plan.good.values() for path in paths}:
        clean.put("ecommerce", path, (tmp_path / path).read_bytes())
    clean.go_on()
    title = f"thirty days (FAULTS_SEED={SEED})"
    for (step, victim), count in life.kills.items():
        figure(title, f"kills: {victim} in {step}", count)
    for status, count in files.items():
        figure(title, f"files {status}", count)
    for kind, count in (
        ("late", LATE),
        ("again", AGAIN),
        ("broken, then right", BROKEN),
        ("worthless", WORTHLESS),
    ):
        figure(title, f"files delivered {kind}", count)
    figure(title, "published rows compared", rows)
    moved = differences(state, clean.state())
    assert not moved, f"FAULTS_SEED={SEED}: after the faults, and after a clean run: {moved}"
    assert life.killed == KILLS
