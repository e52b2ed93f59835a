"""Which channels the settings give, and where links lead."""

from __future__ import annotations

import pytest

from ecommerce_dw.alerts import ChannelError, Message, run_link
from ecommerce_dw.alerts.channels import WebhookChannel, configured_channels
from ecommerce_dw.settings import Settings


def settings(**values: object) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


def test_a_channel_needs_its_settings() -> None:
    assert configured_channels(settings()) == ()
    assert configured_channels(settings(smtp_host="mail.example.com")) == ()
    both = settings(
        smtp_host="mail.example.com", alert_mail_to="a@example.com", alert_webhook_url="http://h/x"
    )
    assert [channel.name for channel in configured_channels(both)] == ["smtp", "webhook"]


def test_links_lead_to_the_run_the_task_or_the_dag() -> None:
    there = settings(airflow_url="https://airflow.example.com/")
    base = "https://airflow.example.com/dags/ecommerce_etl_pipeline"
    assert run_link(there, "manual__1+1") == f"{base}/runs/manual__1%2B1"
    assert run_link(there, "manual__1", task_id="load") == f"{base}/runs/manual__1/tasks/load"
    assert run_link(there, "cli__2026") == base


@pytest.mark.parametrize("url", ["file:///etc/passwd", "nonsense", "http://127.0.0.1:1/x"])
def test_a_webhook_that_cannot_work_says_so_without_its_address(url: str) -> None:
    message = Message("t", "b", None, False, "r", "i")
    with pytest.raises(ChannelError, match="ALERT_WEBHOOK_URL") as caught:
        WebhookChannel(url, 1.0).send(message)
    assert url not in str(caught.value)
