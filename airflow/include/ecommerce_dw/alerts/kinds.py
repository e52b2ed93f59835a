"""What an alert can be about."""

from __future__ import annotations

import enum


class Kind(enum.StrEnum):
    """A kind of incident. Each has a page `docs/runbooks/<value>.md`, which its alerts name."""

    FILE_REFUSED = "file-refused"
    EXPECTATION_CRITICAL = "expectation-critical"
    EXPECTATION_WARNING = "expectation-warning"
    SOURCE_STALE = "source-stale"
    ENTITY_MISSING = "entity-missing"
    RUN_LATE = "run-late"
    DBT_FAILED = "dbt-failed"
    BACKUP_FAILED = "backup-failed"
    MAINTENANCE_FAILED = "maintenance-failed"
    TASK_FAILED = "task-failed"

    @property
    def runbook(self) -> str:
        """Path of its page in the checkout."""
        return f"docs/runbooks/{self.value}.md"
