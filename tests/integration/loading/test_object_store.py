"""A landing zone in a bucket does what a landing folder does. The server is a real one."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest
from click.testing import CliRunner
from obstore.exceptions import PermissionDeniedError

from ecommerce_dw import db
from ecommerce_dw.commands.load import command as load_command
from ecommerce_dw.commands.rejects import command as rejects_command
from ecommerce_dw.ingest import _land
from ecommerce_dw.loading import load
from ecommerce_dw.loading.decisions import accept, discard, withdraw
from ecommerce_dw.loading.erasure import forget_customer
from ecommerce_dw.loading.landing import FileChangedError, LandingError, landing_of
from ecommerce_dw.loading.reload import Reload
from ecommerce_dw.pipeline import load_step
from ecommerce_dw.platform.sample import NoDayToSimulateError, continue_sample
from ecommerce_dw.reprocess import plan
from ecommerce_dw.settings import Settings
from shop_simulator import generate
from tests.integration.loading.conftest import Shop, day
from tests.integration.loading.shop import GOOD
from tests.support.s3_server import (
    ACCESS_KEY,
    SECRET_KEY,
    Bucket,
    Network,
    NoServerError,
    S3Server,
    find_server,
    running,
)

#: Where no server is installed, Go builds one first, for some minutes.
pytestmark = pytest.mark.slow

FIRST = dt.date(2026, 1, 1)
PREFIX = "from/the shop"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The S3 server of this module's tests."""
    try:
        program = find_server()
    except NoServerError as error:
        pytest.skip(str(error))
    with running(program, tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture
def network(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Network]:
    """The way to the server, as AWS's standard variables say it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    between = Network(server.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    yield between
    between.close()


@pytest.fixture
def bucket(server: S3Server, request: pytest.FixtureRequest) -> Bucket:
    """An empty bucket of the test's own."""
    return server.make_bucket("b" + hashlib.sha256(request.node.name.encode()).hexdigest()[:20])


class BucketShop(Shop):
    """A shop whose files land in a bucket."""

    def __init__(
        self, settings: Settings, owner: psycopg2.extensions.connection, bucket: Bucket, network: Network
    ) -> None:
        super().__init__(settings, owner)
        self.bucket = bucket
        self.network = network

    def land_bytes(self, path: str, data: bytes) -> Path:
        """Put bytes into the bucket."""
        self.bucket.put(f"{PREFIX}/{path}", data)
        return Path(path)

    def opened(self) -> list[str]:
        """Names of the objects that were asked for since the last time."""
        found = [r.rsplit("/", 1)[1] for r in self.network.requests if r.startswith("GET") and "?" not in r]
        self.network.requests.clear()
        return found


@pytest.fixture
def shop(
    settings: Settings,
    owner: psycopg2.extensions.connection,
    bucket: Bucket,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
) -> BucketShop:
    """An empty bucket and an empty warehouse; the shop's landing setting names the bucket."""
    made = BucketShop(settings, owner, bucket, network)
    monkeypatch.setenv("LANDING_SHOP", f"s3://{bucket.name}/{PREFIX}")
    return made


# ------------------------------------------------------------------------------------------- as from a folder


def test_a_shop_loads_from_a_bucket_by_its_landing_setting_as_it_does_from_a_folder(
    make_settings: Callable[..., Settings],
    bucket: Bucket,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The pipeline's load step, as its DAG calls it, on ten days with defects."""
    folder = tmp_path / "shop"
    last = FIRST + dt.timedelta(days=9)
    generate(folder, opening=FIRST, first=FIRST, last=last, scale=0.3, seed=3, defects=0.1)
    bucket.put_folder(folder, "landed")

    def loaded_from(address: str) -> tuple[dict[str, object], dict[str, list[Any]]]:
        settings = make_settings(load_workers=1)
        monkeypatch.setenv("LANDING_ECOMMERCE", address)
        summary = load_step(run_id="run", business_date=None, source="ecommerce", settings=settings)
        return summary, contents(settings)

    by_folder, from_folder = loaded_from(str(folder))
    by_bucket, from_bucket = loaded_from(f"s3://{bucket.name}/landed/")
    assert by_folder.pop("seconds") and by_bucket.pop("seconds")
    assert by_bucket == by_folder
    assert by_bucket["files_loaded"] > 80
    assert by_bucket["rows_rejected"] > 0
    assert from_bucket == from_folder


def contents(settings: Settings) -> dict[str, list[Any]]:
    """The ledger and every raw table, but for ids and times."""
    connection = db.connect("owner", settings=settings)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select path, business_date, part, version, sha256, bytes, rows_read, rows_loaded, rows_rejected,"
            ' status, header, message from raw.load_ledger order by path collate "C"'
        )
        found: dict[str, list[Any]] = {"ledger": cursor.fetchall()}
        cursor.execute(
            "select path, line_number, raw_bytes, reasons from raw.rejected_rows "
            'order by path collate "C", line_number'
        )
        found["rejected"] = cursor.fetchall()
        cursor.execute(
            "select tablename from pg_tables where schemaname = 'raw' and tablename like 'ecommerce%'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(
                "select l.path, md5(string_agg((to_jsonb(t) - '_file_id')::text, '|' order by _line_number)) "
                f"from raw.{table} as t join raw.load_ledger as l on l.file_id = t._file_id "
                'group by l.path order by l.path collate "C"'
            )
            found[table] = cursor.fetchall()
    connection.close()
    return found


def test_unfinished_and_unknown_objects_are_left_and_compressed_ones_are_read(shop: BucketShop) -> None:
    shop.land(day(1), GOOD)
    data = b"InvoiceNo,Quantity\n1,2\n"
    for path in (
        "_new/products.csv",
        ".a/2026-01-01.csv",
        "2026-01-01.csv.part",
        "2026-01-01.csv.tmp",
        "_x.csv",
    ):
        shop.land_bytes(path, data)
    shop.land_bytes("2026-01-02.csv.gz", gzip.compress(data))
    shop.land_bytes("READ ME.txt", b"Hello")
    for folder in ("", "products/", "products/dt=2026-01-01/"):
        shop.land_bytes(folder, b"")  # as consoles make folders
    summary = shop.load()
    assert (summary.files_loaded, summary.unmatched) == (2, ("shop: READ ME.txt",))
    assert [row[:3] for row in shop.ledger()] == [("2026-01-02.csv.gz", 1, "loaded"), (day(1), 1, "loaded")]


# -------------------------------------------------------------------------------------- versions of an object


def test_unchanged_objects_are_not_opened_and_other_bytes_are_a_new_version(shop: BucketShop) -> None:
    shop.land(day(1), "A1,Mug,4.50,,,,\n")
    shop.land(day(2), "A2,Plate,3,,,,\n")
    assert shop.load().files_loaded == 2
    assert shop.opened() == ["products.csv", "products.csv"]

    assert shop.load().files_skipped == 2
    assert shop.opened() == []

    shop.land(day(2), "A2,Plate,3,,,,\n")  # the same bytes again, at another time
    assert shop.load().files_skipped == 2
    assert shop.opened() == [], "the etag tells"

    shop.land(day(1), "A1,Mug,4.99,,,,\n")  # as long as before, maybe in the same second
    assert shop.load().files_loaded == 1
    assert [row[:3] for row in shop.ledger()] == [
        (day(1), 1, "loaded"),
        (day(1), 2, "loaded"),
        (day(2), 1, "loaded"),
    ]
    assert [float(row[2]) for row in shop.products()] == [4.99, 3.0]

    shop.opened()
    assert shop.load(verify=True).files_skipped == 2
    assert len(shop.opened()) == 2, "every object was hashed"


def test_a_landing_zone_that_moves_into_a_bucket_is_hashed_once_and_loaded_never(
    shop: BucketShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = os.environ["LANDING_SHOP"]
    file = tmp_path / "folder" / day(1)
    file.parent.mkdir(parents=True)
    file.write_text("product_id,price\nA1,4\n")
    monkeypatch.setenv("LANDING_SHOP", str(tmp_path / "folder"))
    assert shop.load().files_loaded == 1
    shop.land_bytes(day(1), file.read_bytes())
    monkeypatch.setenv("LANDING_SHOP", address)
    assert [outcome.outcome for outcome in shop.load().outcomes] == ["unchanged"]
    assert len(shop.opened()) == 1
    assert shop.load().files_skipped == 1
    assert shop.opened() == []


def test_a_deleted_object_keeps_its_rows_and_is_named(
    shop: BucketShop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.land(day(1), GOOD)
    shop.land(day(2), "B1,Bowl,1,,,,\n")
    shop.load()
    shop.bucket.delete(f"{PREFIX}/{day(1)}")
    summary = shop.load()
    assert summary.missing == (f"shop: {day(1)}",)
    assert "gone from the landing zone; its rows stay" in caplog.text
    assert [row[0] for row in shop.products()] == ["A1", "A2", "A3", "B1"]


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(shop: BucketShop) -> None:
    """The second part of the reading comes over another connection: it must not be of the new object."""
    shop.land("2026-01-01.csv", many_lines(400_000), header=None)
    shop.network.when_reset = lambda: shop.land("2026-01-01.csv", many_lines(400_000, first=7), header=None)
    shop.network.reset_after(2_000_000)
    summary = shop.load()
    assert (summary.files_loaded, summary.files_failed) == (0, 1)
    assert "changed while it was read" in str(summary.outcomes[0].message)
    assert shop.query("select count(*) from raw.shop__lines") == [(0,)]
    assert shop.load().files_loaded == 1, "the next run takes the new one"
    assert shop.query("select min(quantity), count(*) from raw.shop__lines") == [(7, 400_000)]


def test_an_object_that_is_replaced_after_it_was_listed_waits_for_the_next_run(shop: BucketShop) -> None:
    shop.land(day(1), GOOD)
    landing = landing_of(shop.settings, "shop")
    [listed] = list(landing.files([]))
    shop.land(day(1), "A1,Mug,1,,,,\n")
    with pytest.raises(FileChangedError):
        listed.location.open()


# -------------------------------------------------------------------------------------------- what goes wrong


def many_lines(count: int, first: int = 1) -> bytes:
    """A file of lines that compress badly enough to take several reads."""
    return b"InvoiceNo,Quantity\n" + b"".join(b"N%07d,%d\n" % (n, first + n % 90) for n in range(count))


def test_broken_connections_and_busy_servers_are_tried_again(shop: BucketShop) -> None:
    data = many_lines(400_000)
    shop.land("2026-01-01.csv", data, header=None)
    shop.land(day(1), GOOD)
    shop.network.refuse(2)
    shop.network.reset_after(1_000_000, 1_500_000)
    summary = shop.load()
    assert (summary.files_loaded, summary.files_failed) == (2, 0)
    assert shop.opened().count("2026-01-01.csv") == 3, "from where it broke off, twice"
    assert shop.query("select count(*), count(distinct invoice_no) from raw.shop__lines") == [
        (400_000, 400_000)
    ]
    assert (hashlib.sha256(data).hexdigest(),) in shop.query("select sha256 from raw.load_ledger")


def test_wrong_credentials_a_missing_bucket_and_no_credentials_are_told(
    shop: BucketShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.land(day(1), GOOD)

    def message() -> str:
        with pytest.raises(LandingError) as caught:
            shop.load()
        return str(caught.value)

    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        told = message()
        assert (
            f"s3://{shop.bucket.name}/{PREFIX} could not be listed: the store answers SignatureDoesNotMatch"
            in told
        )
        assert "credentials" in told
        assert "another" not in told
    with monkeypatch.context() as patch:
        patch.setenv("LANDING_SHOP", "s3://no-such-bucket/x")
        assert "NoSuchBucket" in message()
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "There are no AWS credentials" in message()
        # AWS's standard chain: a profile in a file
        Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(
            f"[nightly]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n"
        )
        patch.setenv("AWS_PROFILE", "nightly")
        assert shop.load().files_loaded == 1


def test_the_command_says_what_is_wrong_in_one_line(
    shop: BucketShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDING_ECOMMERCE", "s3://no-such-bucket/x")
    monkeypatch.setattr("ecommerce_dw.commands.load.get_settings", lambda: shop.settings)
    result = CliRunner().invoke(load_command, ["--source", "ecommerce"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: The landing zone s3://no-such-bucket/x could not be listed:")
    assert "Make the bucket, or correct the landing setting." in result.output
    assert len(result.output.splitlines()) == 1


# --------------------------------------------------------------------------------------------------- how much


def test_ten_thousand_objects_are_listed_by_a_request_for_each_thousand(shop: BucketShop) -> None:
    shop.bucket.fill(PREFIX, 10_000)
    files = list(landing_of(shop.settings, "shop").files([]))
    assert len(files) == 10_000
    assert len(shop.network.requests) <= 11
    assert all("list-type=2" in request for request in shop.network.requests)


#: Reads the only object of the shop where no file may be written: bytes, digest, growth of memory.
_READ = """
import json, resource
from ecommerce_dw.loading.landing import landing_of
from ecommerce_dw.loading.stream import FileReader
from ecommerce_dw.settings import Settings

[listed] = list(landing_of(Settings(_env_file=None), "shop").files([]))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reader = FileReader(listed.location, is_gzip=False)
size = sum(len(piece) for piece in reader.raw_pieces())
print(json.dumps([size, reader.sha256, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


def test_a_large_object_is_neither_held_in_memory_nor_written_to_disk(shop: BucketShop) -> None:
    data = os.urandom(1 << 20) * 200
    shop.land("2026-01-01.csv", data, header=None)
    read = subprocess.run([sys.executable, "-c", _READ], capture_output=True, text=True, check=True)
    size, digest, kilobytes = json.loads(read.stdout)
    assert (size, digest) == (len(data), hashlib.sha256(data).hexdigest())
    assert kilobytes < 50_000


# ------------------------------------------------------------------------------------- what people do with it


def test_refused_and_rejected_rows_are_settled_as_with_a_folder(
    shop: BucketShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "".join(f"bad{number},Mug,1,,,,\n" for number in range(8))
    shop.land(day(1), bad + GOOD)
    shop.land(day(2), bad + "A9,Mug,1,,,,\n")
    shop.land(day(3), "A7,Mug,dear,,,,\nA8,Mug,1,,,,\n")
    shop.load()
    assert [row[2] for row in shop.ledger()] == ["refused", "refused", "loaded"]

    # by the path in the ledger, and by the address as it stands in the bucket
    outcome = accept(shop.settings, day(1), contracts=shop.contracts)
    assert (outcome.outcome, outcome.rows_loaded) == ("loaded", 3)
    assert discard(shop.settings, f"{os.environ['LANDING_SHOP']}/{day(2)}").path == day(2)

    monkeypatch.setattr("ecommerce_dw.commands.rejects.get_settings", lambda: shop.settings)
    result = CliRunner().invoke(rejects_command, ["export", day(3)])
    fix = f"{os.environ['LANDING_SHOP']}/products/dt=2026-01-03/products.fix-001.csv"
    assert f"save the file as {fix}" in result.stderr
    shop.land(day(3).replace(".csv", ".fix-001.csv"), "A7,Mug,3,,,,\n")
    assert shop.load().files_loaded == 1
    assert shop.query("select resolved_by from raw.rejected_rows where path = %s", day(3)) == [
        (day(3).replace(".csv", ".fix-001.csv"),)
    ]
    assert withdraw(shop.settings, day(1), contracts=shop.contracts).rows_removed == 3
    assert shop.load().files_loaded == 0, "it stays withdrawn"


def test_loaded_days_can_be_read_again(
    bucket: Bucket, network: Network, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    generate(tmp_path, opening=FIRST, first=FIRST, last=FIRST, scale=0.1, seed=3, entities=["products"])
    bucket.put_folder(tmp_path, "landed")
    monkeypatch.setenv("LANDING_ECOMMERCE", f"s3://{bucket.name}/landed")
    assert load(settings, source="ecommerce").files_loaded == 1
    reload = Reload(FIRST, FIRST, "ecommerce")
    assert [file.action for file in plan(settings, reload).files] == ["again"]
    assert load(settings, source="ecommerce", reload=reload).files_loaded == 1


def test_who_is_forgotten_is_in_no_object_either(
    bucket: Bucket, network: Network, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    generate(tmp_path, opening=FIRST, first=FIRST, last=FIRST + dt.timedelta(days=1), scale=0.3, seed=3)
    bucket.put_folder(tmp_path, "landed")
    monkeypatch.setenv("LANDING_ECOMMERCE", f"s3://{bucket.name}/landed")
    load(settings)
    rows = "select customer_id, email from raw.ecommerce__customers where email is not null order by 1"
    with db.transaction(settings=settings) as cursor:
        cursor.execute(rows)
        (customer, mail), *others = cursor.fetchall()

    def objects() -> dict[str, bytes]:
        listed = bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]
        return {
            each["Key"]: bucket.client.get_object(Bucket=bucket.name, Key=each["Key"])["Body"].read()
            for each in listed
        }

    before = objects()
    done = forget_customer(settings, customer)
    assert done.files
    after = objects()
    assert {f"landed/{path}" for path in done.files} == {key for key in after if after[key] != before[key]}
    assert not any(mail.encode() in content for content in after.values())
    assert load(settings).files_loaded == 0
    with db.transaction(settings=settings) as cursor:
        cursor.execute(rows)
        assert cursor.fetchall() == others

    # Delivered again where we may not write: the load goes on, and the rows are nobody's.
    key = next(key for key in before if mail.encode() in before[key])
    bucket.put(key, before[key])
    with monkeypatch.context() as context:
        context.setattr("obstore.put", refuse_to_put)
        assert load(settings).files_loaded == 1
    assert mail.encode() in objects()[key]
    load(settings)
    assert objects() == after


def refuse_to_put(*_: object) -> None:
    raise PermissionDeniedError("denied")


def test_ingest_takes_a_file_of_this_machine_into_the_bucket(
    bucket: Bucket, network: Network, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LANDING_SALES", f"s3://{bucket.name}/sales")
    file = tmp_path / "sales.csv"
    file.write_text("Date,Customer ID,Order ID,Sales\n2026-01-05,C1,O1,2.50\n")
    contents = file.read_bytes()
    today = FIRST + dt.timedelta(days=30)
    for _ in range(2):
        assert _land(settings, file, "sales", today) == "sales.csv"
    assert bucket.client.get_object(Bucket=bucket.name, Key="sales/sales.csv")["Body"].read() == contents
    puts = [request for request in network.requests if request.startswith("PUT")]
    assert len(puts) == 1, "the same bytes once more change nothing"


def test_days_of_the_sample_are_simulated_into_a_folder_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDING_ECOMMERCE", "s3://bucket/ecommerce")
    with pytest.raises(NoDayToSimulateError, match=r"s3://bucket/ecommerce .*not in a folder"):
        continue_sample(settings)
