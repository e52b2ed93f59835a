"""Where a landing setting points, without a server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecommerce_dw import settings as settings_module
from ecommerce_dw.commands.platform import command as platform_command
from ecommerce_dw.loading.landing import LandingError, landing_of
from ecommerce_dw.loading.object_store import ObjectLanding, _reason
from ecommerce_dw.settings import NoLandingFolderError, Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, ecommerce_dw_home=tmp_path / "home")


def test_a_setting_names_a_folder_or_a_bucket(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.landing_address("shop") == str(tmp_path / "home" / "landing" / "shop")
    monkeypatch.setenv("LANDING_SHOP", str(tmp_path))
    assert settings.landing("shop") == tmp_path
    monkeypatch.setenv("LANDING_SHOP", "s3://bucket/a/b/")
    assert settings.landing_address("shop") == "s3://bucket/a/b/"
    assert str(landing_of(settings, "shop")) == "s3://bucket/a/b"
    with pytest.raises(NoLandingFolderError, match="LANDING_SHOP"):
        settings.landing("shop")


@pytest.mark.parametrize("address", ["ftp://host/folder", "s3://", "https://bucket.example/x"])
def test_an_address_of_no_known_kind_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("LANDING_SHOP", address)
    with pytest.raises(LandingError, match="s3://bucket/prefix"):
        landing_of(settings, "shop")


def test_a_path_in_a_bucket_may_be_given_as_its_address(settings: Settings) -> None:
    landing = ObjectLanding("s3://bucket/a", settings)
    assert "orders/x.csv" in landing.spellings("s3://bucket/a/orders/x.csv")
    assert landing.spellings("orders/x.csv") == {"orders/x.csv"}
    assert str(landing.at("orders/x.csv")) == "s3://bucket/a/orders/x.csv"


def test_what_the_env_file_says_for_a_store_reaches_its_library(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("AWS_REGION=eu-west-1\nAWS_PROFILE=nightly\nSMTP_HOST=mail\n")
    monkeypatch.setattr(settings_module, "PROJECT_DIR", tmp_path)
    monkeypatch.setattr(os, "environ", {"AWS_REGION": "eu-north-1"})
    settings.share_provider_variables()
    assert os.environ == {"AWS_REGION": "eu-north-1", "AWS_PROFILE": "nightly"}, "the environment wins"


def test_a_store_s_answer_is_told_in_few_words_and_without_tokens() -> None:
    text = (
        "Generic MicrosoftAzure error: Error performing list request: Error performing GET "
        "https://x.example/c?sig=secret in 2.5s, after 8 retries, max_retries: 8, retry_timeout: 1s  - "
        "HTTP error: error sending request\n\nDebug source:\nGeneric { sig=secret }"
    )
    told, _ = _reason(Exception(text))
    assert told == "GET https://x.example/c: HTTP error: error sending request"


def test_dev_takes_a_bucket_or_a_folder_that_is_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(platform_command, ["dev", "--landing", str(tmp_path / "nowhere")])
    assert result.exit_code == 2
    assert "does not exist" in result.output
    result = CliRunner().invoke(platform_command, ["dev", "--landing", "s3://bucket/x", "--source", "all"])
    assert result.exit_code == 2
    assert "--landing names where one source's files lie" in result.output
