"""The command line of the simulator."""

import sys
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shop_simulator.behaviour import read_behaviour
from shop_simulator.defects import HIGHEST_RATE
from shop_simulator.generation import Generation, generate
from shop_simulator.shop import ENTITIES


class _Date(click.ParamType[date]):
    name = "YYYY-MM-DD"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return datetime.strptime(str(value), "%Y-%m-%d").date()
        except ValueError:
            self.fail(f"{value!r} is not a date of the form YYYY-MM-DD", param, ctx)


_EXAMPLES = """
\b
Examples:
  # two years up to 31 January 2026
  generate_ecommerce_data.py --out landing --end 2026-01-31
  # the next day of the same shop, which opened 730 days before
  generate_ecommerce_data.py --out landing --opening 2024-02-02 --end 2026-02-01 --days 1
  # a shop whose truth is kept, with settings of its own (e.g. [buying] with r = 0.5)
  generate_ecommerce_data.py --out landing --behaviour behaviour.toml --truth truth
  # a shop of which two rows and files in a hundred go wrong, and what exactly
  generate_ecommerce_data.py --out landing --defects 0.02 --truth truth
  # ten days of a big shop, orders and their lines only
  generate_ecommerce_data.py --out big --days 10 --scale 500 --entities orders,order_items
"""


@click.command(epilog=_EXAMPLES, context_settings={"max_content_width": 110, "show_default": True})
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Landing zone: files become OUT/<entity>/dt=YYYY-MM-DD/<entity>.csv.",
)
@click.option("--end", type=_Date(), help="Last day to make.  [default: yesterday (UTC)]")
@click.option("--days", type=click.IntRange(min=1), default=730, help="How many days to make, up to --end.")
@click.option(
    "--opening",
    type=_Date(),
    help="The day the shop opened. Give it to add days to a shop made before.  [default: the first day made]",
)
@click.option("--scale", type=float, default=1.0, help="Size of the shop; 1 is about 27 orders a day.")
@click.option("--seed", type=click.IntRange(min=0), default=42, help="Another seed is another shop.")
@click.option("--entities", default=",".join(ENTITIES), metavar="NAME,NAME,…", help="Which files to make.")
@click.option("--gzip", is_flag=True, help="Compress the files (.csv.gz).")
@click.option(
    "--behaviour",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML or JSON file with settings of the customers' behaviour that differ from the defaults.",
)
@click.option(
    "--defects",
    type=click.FloatRange(0, HIGHEST_RATE),
    default=0.0,
    metavar="RATE",
    help="Share of rows and of files that go wrong (0 to 0.2): wrong types, missing values, unknown codes, "
    "duplicates, orphans, damaged lines; files that come late, again, cut off, or not at all. With --truth, "
    "TRUTH/defects.csv names each of them.",
)
@click.option(
    "--truth",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder, apart from the landing zone, for what is true about the shop: TRUTH/truth.json, "
    "TRUTH/customers.csv.",
)
def main(
    out: Path,
    end: date | None,
    days: int,
    opening: date | None,
    scale: float,
    seed: int,
    entities: str,
    gzip: bool,
    behaviour: Path | None,
    defects: float,
    truth: Path | None,
) -> None:
    """Generate a shop's data: one CSV file per entity and day.

    A day's files depend on seed, opening date, scale, behaviour and date alone, byte for byte. Files that
    are there already with the same content are left untouched, so running twice changes nothing.
    """
    last = end or datetime.now(UTC).date() - timedelta(days=1)
    names = [name.strip() for name in entities.split(",") if name.strip()]
    bar = _progress_bar() if sys.stderr.isatty() else None
    try:
        first = last - timedelta(days=days - 1)
        with bar or nullcontext():
            task = bar.add_task("generating", total=days) if bar else None

            def show(day: date, done: int, total: int) -> None:
                if bar is not None and task is not None:
                    bar.update(task, completed=done, description=day.isoformat())

            made = generate(
                out,
                first=first,
                last=last,
                opening=opening,
                scale=scale,
                seed=seed,
                entities=names,
                gzip=gzip,
                behaviour=None if behaviour is None else read_behaviour(behaviour),
                defects=defects,
                truth=truth,
                progress=show,
            )
    except (ValueError, OverflowError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot write to {out}: {error}") from error
    click.echo(_summary(made))


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _summary(made: Generation) -> str:
    lines = [f"{made.days} days, {made.first} to {made.last}, of the shop opened on {made.opening}"]
    for name, count in made.entities.items():
        lines.append(
            f"  {name:<12} {count.rows:>12,} rows {count.bytes / 1e6:>9,.1f} MB "
            f"{count.files_written:>6,} files written {count.files_unchanged:>6,} unchanged"
        )
    return "\n".join(lines)
