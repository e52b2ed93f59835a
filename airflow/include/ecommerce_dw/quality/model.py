"""What is expected and what came of it, as immutable values without Great Expectations in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Checkpoint = Literal["raw", "warehouse", "marts"]
CHECKPOINTS: tuple[Checkpoint, ...] = ("raw", "warehouse", "marts")
Severity = Literal["critical", "warning"]
Kind = Literal["no_rows", "unique", "compound_unique", "not_null", "in_set", "between"]

#: Examples of offending rows that are kept with a result and shown to people.
EXAMPLES = 5


@dataclass(frozen=True)
class Expectation:
    """One thing that has to hold.

    Attributes:
        name: Stable and unique over all checkpoints; `ecommerce-dw accept --expectation` takes it.
        severity: `critical` stops the run at this boundary, `warning` alerts and goes on.
        kind: How it is checked.
        arguments: What `kind` needs: `sql` (a select of the rows that break it; `batch` is the relation of
            the rows under validation), `column`, `columns`, `values`, `minimum`, `maximum`, `is_strict`.
        meaning: One sentence: what it says.
        remedy: What the person who reads the alert does next.
        is_acceptable: Whether a person may accept its failure by name.
    """

    name: str
    severity: Severity
    kind: Kind
    arguments: Mapping[str, Any]
    meaning: str
    remedy: str
    is_acceptable: bool = True


@dataclass(frozen=True)
class Suite:
    """The expectations of one relation.

    Attributes:
        object: Name of the table they are about.
        batch: One SELECT: those of its rows that are validated.
        expectations: In the order people read them.
    """

    object: str
    batch: str
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True)
class Scope:
    """What a validation looks at: what was touched since the last publication.

    Attributes:
        run_id: The run it belongs to.
        since: Load id of the last publication; later loads are validated. 0 means everything.
        upto: Greatest load id of the run.
        is_full: Whether everything is validated: nothing was published yet, or the run rebuilds everything.
        touched_since: Place in `ops.touched` of the oldest publication.
        published: Per published table, the place in `ops.touched` of its last publication.
        rebuilt: Models that were rebuilt in full since.
        accepted_to: Loads up to here are left out.
    """

    run_id: str
    since: int
    upto: int
    is_full: bool
    touched_since: int = 0
    published: Mapping[str, int] = field(default_factory=dict)
    rebuilt: frozenset[str] = frozenset()
    accepted_to: int = 0

    def is_everything(self, *models: str) -> bool:
        """Whether every row is validated, because one of these models was rebuilt or everything is."""
        return self.is_full or not self.rebuilt.isdisjoint(models)

    def touched(self, model: str, alias: str = "t") -> str:
        """Condition on `ops.touched`: what this model replaced since the last publication."""
        since = self.published.get(model, self.touched_since)
        condition = f"{alias}.model = '{model}' and {alias}.touched_seq > {since} and {alias}.key <> '*'"
        return condition + (f" and {alias}.load_id > {self.accepted_to}" if self.accepted_to else "")


@dataclass(frozen=True)
class ExpectationOutcome:
    """What one expectation gave; a row of `ops.expectation_results`.

    Attributes:
        name, severity, meaning, remedy: As in the expectation.
        suite, object: Where it stands and what it is about.
        expectation_type: Great Expectations' name of it.
        is_success: Whether it held.
        is_accepted: Failed, but a person accepted that for what was loaded up to now.
        unexpected_count: Rows that break it; 0 when it held.
        examples: Some of them.
    """

    name: str
    severity: Severity
    meaning: str
    remedy: str
    suite: str
    object: str
    expectation_type: str
    is_success: bool
    is_accepted: bool
    unexpected_count: int
    examples: tuple[Mapping[str, Any], ...]

    @property
    def stops(self) -> bool:
        """Whether the run stops at this boundary because of it."""
        return self.severity == "critical" and not self.is_success and not self.is_accepted

    def describe(self) -> str:
        """For the person who has to act: what broke, how often, examples, what to do."""
        if self.is_success:
            return f"{self.name}: holds."
        rows = "1 row breaks it" if self.unexpected_count == 1 else f"{self.unexpected_count:,} rows break it"
        lines = [f"{self.name}: {rows}. {self.meaning}"]
        lines += [f"    {describe_row(example)}" for example in self.examples]
        if self.unexpected_count > len(self.examples) > 0:
            lines.append(f"    … and {self.unexpected_count - len(self.examples):,} more")
        lines.append(f"  To do: {self.remedy}" if not self.is_accepted else "  Accepted for these loads.")
        return "\n".join(lines)


@dataclass(frozen=True)
class ValidationSummary:
    """The outcome of one checkpoint.

    Attributes:
        checkpoint, run_id: Which one, for which run.
        load_id_from, load_id_to: It looked at what was loaded after the one and up to the other.
        seconds: How long it took.
        results: Every expectation's outcome.
    """

    checkpoint: Checkpoint
    run_id: str
    load_id_from: int
    load_id_to: int
    seconds: float
    results: tuple[ExpectationOutcome, ...]

    @property
    def is_success(self) -> bool:
        """False when a critical expectation failed and nobody accepted it."""
        return not self.failures

    @property
    def failures(self) -> tuple[ExpectationOutcome, ...]:
        """Critical expectations that failed and are not accepted: they stop the run."""
        return tuple(result for result in self.results if result.stops)

    @property
    def warnings(self) -> tuple[ExpectationOutcome, ...]:
        """Failed expectations of severity warning that are not accepted."""
        return tuple(
            result
            for result in self.results
            if result.severity == "warning" and not result.is_success and not result.is_accepted
        )

    @property
    def accepted(self) -> tuple[ExpectationOutcome, ...]:
        """Failed expectations that a person accepted for these loads."""
        return tuple(result for result in self.results if result.is_accepted)

    def describe(self) -> str:
        """The outcome for people, failures first."""
        held = sum(result.is_success for result in self.results)
        window = (
            f"loads {self.load_id_from + 1} to {self.load_id_to}"
            if self.load_id_from
            else "everything loaded"
        )
        head = (
            f"Checkpoint {self.checkpoint} {'passed' if self.is_success else 'FAILED'} ({window}): "
            f"{held} of {len(self.results)} expectations held, {len(self.failures)} critical failed, "
            f"{len(self.warnings)} warned, {len(self.accepted)} accepted ({self.seconds:.1f} s)."
        )
        parts = [head]
        parts += [f"CRITICAL {result.describe()}" for result in self.failures]
        parts += [f"WARNING {result.describe()}" for result in self.warnings]
        parts += [f"ACCEPTED {result.describe()}" for result in self.accepted]
        if self.failures:
            parts.append(
                _AFTERWARDS[self.checkpoint] + "When the cause is gone or accepted, run the day again."
            )
        return "\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """The outcome for machines."""
        return {
            "checkpoint": self.checkpoint,
            "run_id": self.run_id,
            "is_success": self.is_success,
            "load_id_from": self.load_id_from,
            "load_id_to": self.load_id_to,
            "seconds": round(self.seconds, 3),
            "results": [
                {
                    "name": result.name,
                    "severity": result.severity,
                    "object": result.object,
                    "is_success": result.is_success,
                    "is_accepted": result.is_accepted,
                    "unexpected_count": result.unexpected_count,
                    "examples": [dict(example) for example in result.examples],
                    "meaning": result.meaning,
                    "remedy": result.remedy,
                }
                for result in self.results
            ],
        }


_AFTERWARDS: Mapping[Checkpoint, str] = {
    "raw": "Nothing was built from these loads; marts is as it was. ",
    "warehouse": "No mart was built from these loads; marts is as it was. ",
    "marts": "Nothing was published; marts is as it was. ",
}


def describe_row(row: Mapping[str, Any]) -> str:
    """A row as `column=value, …`, without what is empty."""
    return ", ".join(
        f"{column}={value if isinstance(value, str) else json.dumps(value, default=str)}"
        for column, value in row.items()
        if value is not None
    )


# ---- how suites are written ------------------------------------------------------------------------------


def no_rows(
    name: str,
    sql: str,
    *,
    severity: Severity,
    meaning: str,
    remedy: str,
    is_acceptable: bool = True,
) -> Expectation:
    """A select that has to come back empty."""
    return Expectation(name, severity, "no_rows", {"sql": sql}, meaning, remedy, is_acceptable)


#: What to do where the models, not the files, are wrong.
BUILD_REMEDY = (
    "This is a defect of the models, not of a file: see the rows, correct the model, then build it again "
    "with `ecommerce-dw build --full-refresh`."
)


def unique(table: str, *columns: str, remedy: str = BUILD_REMEDY) -> Expectation:
    """One row per value of these columns (critical)."""
    text = f"{table}.{', '.join(columns)} is unique"
    meaning = f"Two rows of {table} have the same {', '.join(columns)}: whatever joins it counts twice."
    if len(columns) == 1:
        return Expectation(text, "critical", "unique", {"column": columns[0]}, meaning, remedy)
    return Expectation(text, "critical", "compound_unique", {"columns": columns}, meaning, remedy)


def not_null(table: str, column: str, remedy: str = BUILD_REMEDY) -> Expectation:
    """A column that is always filled (critical)."""
    return Expectation(
        f"{table}.{column} is never null",
        "critical",
        "not_null",
        {"column": column},
        f"A row of {table} has no {column}.",
        remedy,
    )


def in_set(table: str, column: str, values: Sequence[Any], remedy: str = BUILD_REMEDY) -> Expectation:
    """A column that has only these values; null is none of this expectation's business (critical)."""
    return Expectation(
        f"{table}.{column} has a known value",
        "critical",
        "in_set",
        {"column": column, "values": tuple(values)},
        f"{column} is one of {', '.join(map(str, values))}.",
        remedy,
    )


def between(
    table: str,
    column: str,
    minimum: float | None = None,
    maximum: float | None = None,
    *,
    severity: Severity = "critical",
    remedy: str = BUILD_REMEDY,
) -> Expectation:
    """A number within bounds, inclusive; null is none of this expectation's business."""
    bounds = " and ".join(
        ([f"at least {minimum:g}"] if minimum is not None else [])
        + ([f"at most {maximum:g}"] if maximum is not None else [])
    )
    return Expectation(
        f"{table}.{column} is {bounds}",
        severity,
        "between",
        {"column": column, "minimum": minimum, "maximum": maximum},
        f"{column} lies outside its range.",
        remedy,
    )
