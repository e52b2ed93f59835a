"""`datacontract lint` accepts every contract, in an environment of its own and without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecommerce_dw.settings import PROJECT_DIR

CONTRACTS = sorted((PROJECT_DIR / "airflow" / "include" / "contracts").glob("*/*.odcs.yaml"))
PINNED = Path(__file__).with_name("datacontract-cli.txt")

#: Imported by every Python of that environment: who asks for a connection or a name is noted and refused.
NO_NETWORK = """
import os, socket

def refuse(*arguments, **named):
    with open(os.environ["NETWORK_LOG"], "a") as log:
        log.write(f"{arguments}\\n")
    raise OSError("There is no network in this test.")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""

pytestmark = pytest.mark.slow


class Linter:
    """`datacontract` in its environment, cut off from the network."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "venv" / "bin" / "datacontract"
        self.network_log = folder / "network.log"
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(NO_NETWORK)
        proxies = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(folder / "site"),
            "NETWORK_LOG": str(self.network_log),
            **dict.fromkeys(proxies, "http://127.0.0.1:9"),
        }

    def lint(self, contract: Path | str) -> subprocess.CompletedProcess[str]:
        """Lint one contract."""
        return subprocess.run(
            [self._program, "lint", "--all-errors", str(contract)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="module")
def linter(tmp_path_factory: pytest.TempPathFactory) -> Linter:
    """The pinned linter, installed from the package index; skips the tests where that is out of reach."""
    folder = tmp_path_factory.mktemp("datacontract")
    uv = str(Path(sys.prefix) / "bin" / "uv")
    python = str(folder / "venv" / "bin" / "python")
    for arguments in (
        ["venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
        ["pip", "install", "--quiet", "--python", python, "--no-deps", "-r", str(PINNED)],
    ):
        done = subprocess.run([uv, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            pytest.skip(f"datacontract-cli cannot be installed here: {done.stdout.strip()[-500:]}")
    return Linter(folder)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda file: f"{file.parent.name}.{file.stem}")
def test_every_contract_is_accepted_without_a_network(linter: Linter, contract: Path) -> None:
    done = linter.lint(contract)

    assert done.returncode == 0, done.stdout
    assert "Data contract is valid against ODCS v3.1.0" in " ".join(done.stdout.split())
    assert not linter.network_log.exists(), linter.network_log.read_text()


def test_what_the_standard_does_not_know_is_refused(linter: Linter, tmp_path: Path) -> None:
    broken = tmp_path / "orders.odcs.yaml"
    text = (PROJECT_DIR / "airflow/include/contracts/ecommerce/orders.odcs.yaml").read_text()
    broken.write_text(text.replace("logicalType: date", "logicalType: day"))

    done = linter.lint(broken)

    assert done.returncode != 0
    assert "day" in done.stdout


def test_there_is_no_network_for_it(linter: Linter, tmp_path: Path) -> None:
    """The cut holds: a contract behind an address is asked for, and not found."""
    done = linter.lint("https://example.com/datacontract.yaml")

    assert done.returncode != 0
    assert linter.network_log.read_text()
    linter.network_log.unlink()
