"""Nearly valid files, made at random: loaded + rejected = what a plain reader counts, or nothing of it."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecommerce_dw.contracts.model import Contract
from tests.faults.bad_files import DAY, good_value
from tests.faults.conftest import Warehouse
from tests.faults.fuzz_loader import Broken, broken_files, law_breakers
from tests.faults.reference import count_records
from tests.integration.loading.shop import LINES, PRODUCTS

_numbers = itertools.count(1)

MARKS = st.sampled_from(
    ["", "", "", '"', '""', ",", "\n", "\r", "\0", " ", "é", "%", "\\N", "\\.", "now", "0x1"]
)
ENDS = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b""])


@st.composite
def nearly_valid(draw: st.DrawFn, contract: Contract) -> bytes:
    """A file of a contract with some of it wrong: names, fields, quotation marks, line ends, bytes."""
    names = [column.header for column in contract.columns]
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(names) - 1))
        names[at] = draw(st.sampled_from(["", names[0], names[at].upper(), f"{names[at]} ", '"' + names[at]]))
    data = draw(st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf", b"\n"])) + ",".join(names).encode() + b"\n"
    for number in range(draw(st.integers(0, 12))):
        fields = [good_value(contract, column, number) for column in contract.columns]
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            at = draw(st.integers(0, len(fields) - 1))
            kind = draw(st.integers(0, 4))
            if kind == 0:
                fields[at] = f'"{fields[at]}{draw(MARKS)}"'
            elif kind == 1:
                fields[at] += draw(MARKS)
            elif kind == 2:
                fields[at] = draw(st.text(max_size=5))
            elif kind == 3:
                fields.insert(at, "")
            elif len(fields) > 1:
                del fields[at]
        line = ",".join(fields).encode("utf-8", "surrogatepass")
        if draw(st.integers(0, 19)) == 0:
            line = line.replace(b"1", draw(st.binary(min_size=1, max_size=2)), 1)
        data += line + draw(ENDS)
    return data


def plain(contract: Contract) -> Contract:
    """A contract with patterns that `good_value` need not know."""
    columns = tuple(dataclasses.replace(column, pattern=None) for column in contract.columns)
    return dataclasses.replace(contract, columns=columns, hash="plain")


@pytest.fixture(scope="module")
def shop(warehouse: Warehouse) -> Warehouse:
    """A warehouse of the platform's contracts and two of the tests' own."""
    warehouse.contracts["shop"] = {"products": plain(PRODUCTS), "lines": plain(LINES)}
    return warehouse


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(data=st.data())
def test_nearly_valid_files_of_a_random_contract_are_conserved(shop: Warehouse, data: st.DataObject) -> None:
    contracts = [contract for entities in shop.contracts.values() for contract in entities.values()]
    files = []
    for contract in data.draw(st.lists(st.sampled_from(contracts), min_size=1, max_size=6)):
        path = contract.layout.pattern.replace("{date}", DAY).replace("{name}", DAY)
        path = path.replace("{part}", f".n{next(_numbers)}")
        files.append(Broken(contract, path, data.draw(nearly_valid(contract))))
    assert law_breakers(shop, files) == {}


@pytest.mark.parametrize("seed", range(3))
def test_files_with_bytes_changed_are_conserved(shop: Warehouse, seed: int) -> None:
    contracts = [contract for entities in shop.contracts.values() for contract in entities.values()]
    files = broken_files(random.Random(seed), contracts, 60, f"s{seed}")
    assert law_breakers(shop, files) == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"", []),
        (b"\n \n", []),
        (b"a,b\n", [0]),
        (b"a,b\n1,2\n\n3,4", [2]),
        (b'a,b\n"1\n2",3\n', [1]),
        (b'a,b\n"x""\ny",1\n', [1]),
        (b'a,b\n24" wide,x\n3,4\n', [2]),
        (b'a,b\n24" wide,x\n3,4" high\n', [2]),
        (b'a,b\n24" wide,x\n"3\n",4\n', [2, 3]),
    ],
)
def test_the_reference_counts_what_a_person_would(text: bytes, count: list[int]) -> None:
    assert [*count_records(text, PRODUCTS)] == count
