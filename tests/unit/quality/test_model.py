"""How outcomes read."""

from __future__ import annotations

import subprocess
import sys

from ecommerce_dw.quality import ExpectationOutcome, ValidationSummary


def outcome(**values: object) -> ExpectationOutcome:
    return ExpectationOutcome(
        **{
            "name": "orders.key is unique",
            "severity": "critical",
            "meaning": "Twice.",
            "remedy": "Look.",
            "suite": "warehouse.orders",
            "object": "orders",
            "expectation_type": "t",
            "is_success": False,
            "is_accepted": False,
            "unexpected_count": 7,
            "examples": ({"order_id": "O1", "amount": "1.50", "nothing": None},),
        }
        | values  # type: ignore[arg-type]
    )


def summary(*results: ExpectationOutcome) -> ValidationSummary:
    return ValidationSummary("warehouse", "run", 4, 9, 0.5, results)


def test_a_failure_tells_rows_examples_and_what_to_do() -> None:
    text = summary(outcome()).describe()
    assert "Checkpoint warehouse FAILED (loads 5 to 9)" in text
    assert "CRITICAL orders.key is unique: 7 rows break it. Twice." in text
    assert "order_id=O1, amount=1.50\n" in text
    assert "… and 6 more" in text
    assert "To do: Look." in text


def test_warnings_and_accepted_failures_let_the_run_go_on() -> None:
    result = summary(outcome(severity="warning"), outcome(is_accepted=True))
    assert result.is_success
    assert len(result.warnings) == len(result.accepted) == 1
    assert not summary(outcome()).is_success


def test_importing_the_package_does_not_import_great_expectations() -> None:
    code = (
        "import sys, ecommerce_dw.quality, ecommerce_dw.alerts, ecommerce_dw.commands.validate; "
        "sys.exit('great_expectations' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
