"""The DAG takes its files from a bucket when the landing setting names one; nothing else is changed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from ecommerce_dw.settings import Settings
from shop_simulator import generate
from tests.e2e.checkout import make_checkout
from tests.e2e.running import tables, undisturbed
from tests.support.s3_server import ACCESS_KEY, SECRET_KEY, NoServerError, find_server, running

#: Where no S3 server is installed, Go builds one first, for some minutes.
pytestmark = pytest.mark.slow

FIRST, LAST = dt.date(2026, 1, 1), dt.date(2026, 1, 10)
NEXT = LAST + dt.timedelta(days=1)


def test_a_bucket_gives_the_fingerprints_of_a_folder(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        program = find_server()
    except NoServerError as error:
        pytest.skip(str(error))
    days, more = tmp_path / "days", tmp_path / "more"
    generate(days, first=FIRST, last=LAST, scale=0.3)
    generate(more, opening=FIRST, first=NEXT, last=NEXT, scale=0.3)
    (tmp_path / "server").mkdir()
    checkout = make_checkout(tmp_path / "checkout", small_dag=False)
    with running(program, tmp_path / "server") as server:
        variables = {
            "LANDING_ECOMMERCE": "s3://landing/from the shop",
            "AWS_ENDPOINT_URL": server.endpoint,
            "no_proxy": "127.0.0.1",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }
        bucket = server.make_bucket("landing")
        bucket.put_folder(days, "from the shop")
        try:
            done = checkout.run("dev", "--no-ui", **variables)
            assert done.returncode == 0, done.stdout + done.stderr
            before = tables(checkout)
            bucket.put_folder(more, "from the shop")
            done = checkout.run("dev", "--no-ui", **variables)
            assert done.returncode == 0, done.stdout + done.stderr
            after = tables(checkout)
        finally:
            checkout.run("reset", "--yes")
        assert not list(checkout.home.glob("landing/**/*.csv"))
    assert len(before) >= 10 and before != after
    generate(days, opening=FIRST, first=NEXT, last=NEXT, scale=0.3)
    monkeypatch.setenv("LANDING_ECOMMERCE", str(days))
    assert after == undisturbed(settings, FIRST, NEXT)
