"""What a long command shows: a line per step."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console


class Screen:
    """Prints a line per step, with the seconds it took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()

    @contextlib.contextmanager
    def step(self, doing: str) -> Iterator[list[str]]:
        """A step: what is appended to the list it gives is what the line says in the end."""
        began = time.monotonic()
        result = [doing]
        with self.console.status(f"{doing} …") as status:
            self._status = status
            yield result
        self.console.print(
            f"[green]✔[/green] {result[-1]} [dim]({time.monotonic() - began:.1f} s)[/dim]",
            highlight=False,
            soft_wrap=True,
        )

    def progress(self, text: str) -> None:
        """Say what the step that is going does now."""
        self._status.update(f"{text} …")
