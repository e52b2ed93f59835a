"""Files that land as a producer's should: whole at once."""

from __future__ import annotations

import os
from pathlib import Path


def land_whole(file: Path, data: bytes, *, moment: int | None = None) -> Path:
    """Write a file under another name, then rename it.

    Args:
        file: Where it lands; its folder is made.
        data: What is in it.
        moment: When it was last changed (s since 1970); None: now.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name("_" + file.name)
    temporary.write_bytes(data)
    if moment is not None:
        os.utime(temporary, (moment, moment))
    return temporary.rename(file)
