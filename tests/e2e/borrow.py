"""An environment that borrows the packages of the Python it is made by, in a moment and without network.

As a program it stands in for `uv` where a test's `./deploy.sh` installs: it answers to the three calls that
deploy.sh makes (`uv venv`, `uv pip sync`, `uv pip install -e`). It needs the standard library alone.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

_PROGRAMS = {
    "airflow": "airflow.__main__:main",
    "ecommerce-dw": "ecommerce_dw.cli:main",
    "dbt": "dbt.cli.main:cli",
}


def make_environment(venv: Path, python: str = sys.executable) -> None:
    """Make an environment without packages, with the programs of the platform."""
    subprocess.run([python, "-m", "venv", "--without-pip", str(venv)], check=True, capture_output=True)
    for name, entry in _PROGRAMS.items():
        module, function = entry.split(":")
        script = venv / "bin" / name
        # As pip writes it where the path has spaces.
        script.write_text(
            f"#!/bin/sh\n'''exec' '{venv / 'bin' / 'python'}' \"$0\" \"$@\"\n' '''\n"
            f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        )
        script.chmod(0o755)


def install(venv: Path, project: Path) -> None:
    """Let it find a project's packages, then those of this Python: the first lines win."""
    site = next(venv.glob("lib/python*/site-packages"))
    lines = [project / "airflow" / "include", project / "data-generation", sysconfig.get_paths()["purelib"]]
    (site / "borrowed.pth").write_text("".join(f"{line}\n" for line in lines))


def write_uv(folder: Path) -> Path:
    """Put this program into a folder as `uv`; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "uv"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{__file__}' \"$@\"\n")
    program.chmod(0o755)
    return folder


def _main(arguments: list[str]) -> None:
    if arguments[0] == "venv":
        make_environment(Path(arguments[-1]))
    elif arguments[:2] == ["pip", "install"]:
        venv = Path(arguments[arguments.index("--python") + 1]).parents[1]
        install(venv, Path(arguments[-1]))
    elif arguments[:2] != ["pip", "sync"]:
        sys.exit(f"This stand-in for uv does not know {arguments}.")


if __name__ == "__main__":
    _main(sys.argv[1:])
