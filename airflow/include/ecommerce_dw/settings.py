"""The one settings object. No other module reads environment variables.

Values come from the environment, then from the file `.env` at the top of the checkout, then from the files
of `/run/secrets` (in containers), then from the defaults below. A secret may also come from a file of its
own, which `<SETTING>_FILE` names.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

#: Top of the checkout: the package is installed in editable mode from it.
PROJECT_DIR = Path(__file__).resolve().parents[3]

#: Variables of the providers of object stores.
_PROVIDER_PREFIXES = ("AWS_", "GOOGLE_", "AZURE_")
#: Where container engines put secrets, one file each, named like its setting (`warehouse_password`).
SECRETS_DIR = Path("/run/secrets")

Role = Literal["owner", "loader", "transformer", "analyst", "monitor", "pii_reader", "api"]
#: The roles that log in, all but the owner, who makes them.
ROLES: tuple[Role, ...] = ("loader", "transformer", "analyst", "monitor", "pii_reader", "api")
#: Those that can log in only where they have a password.
OPTIONAL_ROLES: tuple[Role, ...] = ("monitor", "pii_reader", "api")
#: Longest wait for a lock that the server can count (s, rounded): 23 days.
_LONGEST_WAIT = 2_000_000
Environment = Literal["development", "production"]
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class SecretFileError(RuntimeError):
    """A file that `<SETTING>_FILE` names can't be read; the message names setting, file and reason."""


class _SecretFiles(PydanticBaseSettingsSource):
    """Takes a secret from the file that `<SETTING>_FILE` names."""

    def __init__(self, settings_cls: type[BaseSettings], env_file: Path | None) -> None:
        super().__init__(settings_cls)
        self.files = secret_files(env_file)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        file = self.files.get(field_name.upper())
        # `get_settings` tells of one that can't be read, and the preflight together with all else.
        is_readable = file is not None and unreadable(file) is None
        return (file.read_text().strip() if file and is_readable else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in values.items() if value is not None}


class NoLandingFolderError(ValueError):
    """What was asked for needs a landing folder, and the source's files lie in a bucket."""


def _milliseconds(seconds: float) -> str:
    """A wait in the server's words, which knows no shorter one."""
    return f"{max(round(seconds * 1000), 1)}ms"


def is_url(address: str) -> bool:
    """Whether a landing zone is somewhere else than in a folder."""
    return "://" in address


class Settings(BaseSettings):
    """Everything that can be set, with unit and effect. `.env.example` documents the same names."""

    model_config = SettingsConfigDict(
        env_file=PROJECT_DIR / ".env",
        env_file_encoding="utf-8",
        secrets_dir=SECRETS_DIR if SECRETS_DIR.is_dir() else None,
        extra="ignore",
        frozen=True,
    )

    # where things are
    ecommerce_dw_home: Path = Field(
        default=PROJECT_DIR / "var", description="Folder of everything the platform makes."
    )
    ecommerce_dw_environment: Environment = Field(
        default="development",
        description="`development` lands a simulated day of the sample shop each night, `production` never.",
    )
    backup_dir: Path | None = Field(
        default=None,
        description="Folder, on another disk, that backups are written to: each night, by `./deploy.sh "
        "backup`, and of Airflow's metadata before `./deploy.sh prod` migrates it. Empty: none; production "
        "needs one.",
    )
    backup_keep: int = Field(
        default=14, ge=1, description="Dated backups kept in BACKUP_DIR; older ones are deleted each night."
    )
    ops_keep_days: int = Field(
        default=730, ge=30, description="Outcomes in the schema `ops` kept (days before the newest)."
    )
    logs_keep_days: int = Field(default=30, ge=1, description="Logs of tasks and of dbt kept (days).")
    airflow_keep_days: int = Field(
        default=90, ge=7, description="Airflow's own history of runs and tasks kept (days)."
    )
    drain_seconds: float = Field(
        default=1800.0,
        ge=0,
        description="Longest wait of `./deploy.sh prod` for running tasks to end (s); then they are ended "
        "and tried again.",
    )

    # the warehouse
    warehouse_host: str = Field(
        default="",
        description="Host of an external PostgreSQL >= 18. Empty: the embedded server on 127.0.0.1.",
    )
    warehouse_port: int = Field(default=5433, description="TCP port of the warehouse.")
    warehouse_sslmode: SslMode = Field(
        default="prefer", description="TLS to the warehouse, in libpq's words; `verify-full` for production."
    )
    warehouse_sslrootcert: str = Field(
        default="",
        description="File of the certificate authorities that the server's certificate is checked against, "
        "or `system`. Empty: libpq's default, ~/.postgresql/root.crt.",
    )
    warehouse_on_private_network: bool = Field(
        default=False,
        description="Only containers of this machine reach the warehouse's server: the way needs no TLS.",
    )
    allow_embedded_in_production: bool = Field(
        default=False,
        description="Let `./deploy.sh prod` use the embedded server: no TLS, no replica, one disk.",
    )
    warehouse_db: str = Field(default="ecommerce_dw", description="Database of the warehouse.")
    warehouse_user: str = Field(default="warehouse", description="Owner of the warehouse database.")
    warehouse_password: SecretStr = Field(default=SecretStr("warehouse"), description="Its password.")
    loader_password: SecretStr = Field(default=SecretStr("loader"), description="Password of role loader.")
    transformer_password: SecretStr = Field(
        default=SecretStr("transformer"), description="Password of role transformer."
    )
    analyst_password: SecretStr = Field(
        default=SecretStr("analyst"),
        description="Password of role analyst, which reads warehouse and marts without personal data.",
    )
    monitor_password: SecretStr = Field(
        default=SecretStr(""),
        description="Password of role monitor, which reads what happened and how much, and no table with a "
        "shop's rows. Empty: it can't log in, and `ecommerce-dw metrics` reads as analyst.",
    )
    pii_reader_password: SecretStr = Field(
        default=SecretStr(""),
        description="Password of role pii_reader, which reads everything, personal data too; whatever it "
        "does is in the server's log. Empty: it can't log in.",
    )
    api_password: SecretStr = Field(
        default=SecretStr(""),
        description="Password of role api, for services: it reads the marts without personal data, and "
        "nothing else. Empty: it can't log in.",
    )
    warehouse_address: str = Field(
        default="", description="`host:port` of the warehouse as people reach it. Empty: as connected to."
    )
    lock_wait_seconds: float = Field(
        default=600.0,
        gt=0,
        le=_LONGEST_WAIT,
        description="Longest wait for a lock, of a run, a file, a table or a row, before the holder is named "
        "(s).",
    )
    table_lock_wait_seconds: float = Field(
        default=15.0,
        gt=0,
        le=_LONGEST_WAIT,
        description="Longest wait for a table in use where everybody behind waits, too: a publication that "
        "adds a column, a migration, a vacuum; and of a backup (s).",
    )
    connect_timeout_seconds: int = Field(
        default=10, ge=2, le=3600, description="Longest wait for the server to take a connection (s)."
    )
    network_timeout_seconds: int = Field(
        default=60,
        ge=6,
        le=3600,
        description="Longest silence of the server's machine, or the way to it, until a connection counts as "
        "broken (s). A query may take longer; but of the rows of a load the server has to take some "
        "meanwhile.",
    )

    # Airflow
    airflow_port: int = Field(default=8080, description="TCP port of the Airflow web UI (loopback only).")
    airflow_admin_user: str = Field(default="admin", description="Login of the Airflow web UI.")
    airflow_admin_password: SecretStr = Field(default=SecretStr("admin"), description="Its password.")
    airflow_db: str = Field(default="airflow", description="Database of Airflow's metadata.")
    airflow_url: str = Field(
        default="",
        description="Address of the Airflow UI used in alerts; in production that of the proxy before it. "
        "Empty: http://localhost:<port>.",
    )
    airflow_host: str = Field(
        default="",
        description="Host of Airflow's api-server where its components are services of their own "
        "(containers). Empty: `./deploy.sh dev` starts them, on 127.0.0.1.",
    )
    airflow_db_host: str = Field(
        default="",
        description="Host of the PostgreSQL of Airflow's metadata. Empty: the warehouse's server and user.",
    )
    airflow_db_port: int = Field(default=5432, description="Its port.")
    airflow_db_user: str = Field(default="airflow", description="Owner of the metadata there.")
    airflow_db_password: SecretStr = Field(default=SecretStr("airflow"), description="Its password.")
    airflow_fernet_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key of what Airflow stores encrypted. This one and the next two, empty: made once.",
    )
    airflow_jwt_secret: SecretStr = Field(
        default=SecretStr(""), description="Signs the tokens of Airflow's components and users."
    )
    airflow_api_secret_key: SecretStr = Field(
        default=SecretStr(""), description="Signs the sessions of the web UI."
    )
    airflow_workers: int = Field(
        default=0,
        ge=0,
        description="Celery workers that run the tasks. 0: the scheduler runs them (LocalExecutor).",
    )
    redis_host: str = Field(
        default="",
        description="Host of the Redis that hands tasks to the workers. Empty: one is started with them.",
    )
    redis_port: int = Field(default=6379, description="Its port.")
    redis_password: SecretStr = Field(default=SecretStr(""), description="Its password. Empty: none.")
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="Log lines of commands (on standard error) and of Airflow's components: `text`, or "
        "`json` for a collector, with the tasks' logs among the components'.",
    )
    log_level: Literal["", "debug", "info", "warning", "error"] = Field(
        default="",
        description="Least level of a log line. Empty: info in Airflow, warning in commands (info with -v).",
    )
    statsd_host: str = Field(
        default="", description="Host that takes Airflow's metrics by StatsD (UDP). Empty: none are sent."
    )
    statsd_port: int = Field(default=9125, description="Its port.")
    openlineage_url: str = Field(
        default="",
        description="Address of a receiver of OpenLineage events by HTTP (Marquez, a catalog). Empty: none.",
    )
    openlineage_log: Path | None = Field(
        default=None,
        description="File that OpenLineage events are appended to, one line of JSON each. Empty: none.",
    )
    openlineage_namespace: str = Field(
        default="ecommerce-dw", description="Namespace of the jobs in OpenLineage events."
    )
    openlineage_timeout_seconds: int = Field(
        default=5,
        ge=1,
        description="Longest time that a task waits for an event to be taken (s), at its start and at its "
        "end; then it goes on.",
    )

    # files
    contracts_dir: Path = Field(
        default=PROJECT_DIR / "airflow" / "include" / "contracts",
        description="Folder of the data contracts, one folder per source.",
    )
    load_workers: int = Field(default=2, ge=1, description="Files loaded side by side by one `load`.")
    load_max_expansion: int = Field(
        default=200,
        ge=1,
        description="How many times its own size a compressed file may hold, above 64 MiB; one that holds "
        "more is refused.",
    )

    # people who are to be forgotten
    erasure_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key of the hashes of customers that were forgotten (`ecommerce-dw forget-customer`). "
        "Empty: made once, in the home's folder `erasure`.",
    )

    # the calendar
    fiscal_year_start_month: int = Field(
        default=1, ge=1, le=12, description="First month of the fiscal year, 1 to 12, in dim_date."
    )

    # quality
    data_docs_keep: int = Field(default=10, ge=1, description="Data Docs kept, in runs.")

    # alerts
    nightly_deadline_hours: float = Field(
        default=4.0,
        ge=0,
        description="Hours after its start (02:00 UTC) within which the nightly run has to be finished; then "
        "people are told that it is late.",
    )
    alert_timeout_seconds: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        description="Longest time for handing an alert to a channel, from the first look at its address to "
        "its answer (s).",
    )
    alert_retry_seconds: float = Field(
        default=60.0,
        ge=0,
        le=21_600,
        description="Pause before an alert that a channel did not take is tried again (s); it doubles with "
        "each try, up to 6 hours, for 7 days.",
    )
    smtp_host: str = Field(default="", description="SMTP server for alerts. Empty: no mail.")
    smtp_port: int = Field(default=25, description="Its port.")
    smtp_user: str = Field(default="", description="SMTP login. Empty: none.")
    smtp_password: SecretStr = Field(default=SecretStr(""), description="SMTP password.")
    smtp_starttls: bool = Field(default=False, description="Use STARTTLS.")
    alert_mail_from: str = Field(default="warehouse@localhost", description="Sender of alert mails.")
    alert_mail_to: str = Field(default="", description="Receivers of alert mails, separated by commas.")
    alert_webhook_url: SecretStr = Field(
        default=SecretStr(""),
        description="Slack-compatible webhook for alerts; whoever has it may post. Empty: none.",
    )

    @field_validator("contracts_dir")
    @classmethod
    def _from_checkout(cls, value: Path) -> Path:
        return PROJECT_DIR / value.expanduser()

    @field_validator("backup_dir", "openlineage_log", mode="before")
    @classmethod
    def _none_when_empty(cls, value: object) -> object:
        return value or None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """pydantic's own sources, and the files that `<SETTING>_FILE` names."""
        assert isinstance(dotenv_settings, DotEnvSettingsSource)
        named = _SecretFiles(settings_cls, PROJECT_DIR / ".env" if dotenv_settings.env_file else None)
        return init_settings, env_settings, dotenv_settings, named, file_secret_settings

    @property
    def is_production(self) -> bool:
        """Whether people depend on this installation."""
        return self.ecommerce_dw_environment == "production"

    @property
    def home(self) -> Path:
        """Folder of everything the platform makes, absolute; a relative one counts from the checkout."""
        return (PROJECT_DIR / self.ecommerce_dw_home.expanduser()).resolve()

    @property
    def is_embedded(self) -> bool:
        """Whether the warehouse is the embedded server."""
        return not self.warehouse_host

    @property
    def host(self) -> str:
        """Host to connect to."""
        return self.warehouse_host or "127.0.0.1"

    @property
    def address(self) -> str:
        """`host:port` of the warehouse, for people."""
        return self.warehouse_address or f"{self.host}:{self.warehouse_port}"

    @property
    def has_own_airflow(self) -> bool:
        """Whether Airflow's components are processes of this platform, not services of their own."""
        return not self.airflow_host

    @property
    def has_workers(self) -> bool:
        """Whether Celery workers run the tasks."""
        return self.airflow_workers > 0 or bool(self.redis_host)

    @property
    def login_roles(self) -> tuple[Role, ...]:
        """The roles that can log in."""
        return tuple(role for role in ROLES if role not in OPTIONAL_ROLES or self.role_login(role)[1])

    @property
    def metrics_role(self) -> Role:
        """The least role that can log in and read what the metrics tell."""
        return "monitor" if "monitor" in self.login_roles else "analyst"

    @property
    def metadata(self) -> Settings:
        """These settings with Airflow's metadata in the warehouse's place: its server, user and database."""
        server: dict[str, object] = {}
        if self.airflow_db_host:
            server = {
                "warehouse_host": self.airflow_db_host,
                "warehouse_port": self.airflow_db_port,
                "warehouse_user": self.airflow_db_user,
                "warehouse_password": self.airflow_db_password,
            }
        return self.model_copy(update=server | {"warehouse_db": self.airflow_db})

    @property
    def tls(self) -> dict[str, str]:
        """libpq's parameters of TLS to the warehouse."""
        certificates = {"sslrootcert": self.warehouse_sslrootcert} if self.warehouse_sslrootcert else {}
        return {"sslmode": self.warehouse_sslmode} | certificates

    @property
    def network_waits(self) -> dict[str, Any]:
        """libpq's parameters that bound the waits for the network (numbers)."""
        third = self.network_timeout_seconds // 3
        return {
            "connect_timeout": self.connect_timeout_seconds,
            "keepalives_idle": third,
            "keepalives_interval": third,
            "keepalives_count": 2,
            "tcp_user_timeout": self.network_timeout_seconds * 1000,
        }

    @property
    def lock_timeout(self) -> str:
        """`lock_wait_seconds` in the server's words."""
        return _milliseconds(self.lock_wait_seconds)

    @property
    def table_lock_timeout(self) -> str:
        """`table_lock_wait_seconds` in the server's words."""
        return _milliseconds(self.table_lock_wait_seconds)

    @property
    def dbt_dir(self) -> Path:
        """The dbt project (and its profiles.yml)."""
        return PROJECT_DIR / "dbt"

    @property
    def airflow_base_url(self) -> str:
        """Address of the Airflow UI."""
        return self.airflow_url or f"http://localhost:{self.airflow_port}"

    def landing_address(self, source: str) -> str:
        """A source's landing zone: setting `LANDING_<SOURCE>`, else the folder `<home>/landing/<source>`.

        Any source may have one, so these are not fields of the class. Between the environment and `.env`
        comes what `./deploy.sh dev --landing` has remembered for this home.

        Returns:
            The absolute path of a folder, or the URL of a bucket and a prefix in it.
        """
        name = f"LANDING_{source.upper()}"
        remembered = dotenv_values(self.landing_file).get(name)
        value = os.environ.get(name) or remembered or dotenv_values(PROJECT_DIR / ".env").get(name)
        if value and is_url(value):
            return value
        if not value:
            return str(self.home / "landing" / source)
        return str((PROJECT_DIR / Path(value).expanduser()).resolve())

    def landing(self, source: str) -> Path:
        """A source's landing folder, for what needs a folder.

        Raises:
            NoLandingFolderError: The source's files lie in a bucket.
        """
        address = self.landing_address(source)
        if is_url(address):
            raise NoLandingFolderError(
                f"The files of {source} lie in {address} (LANDING_{source.upper()}), not in a folder."
            )
        return Path(address)

    def share_provider_variables(self) -> None:
        """Let the libraries of object stores find what `.env` says for them; the environment wins.

        They read their credentials, endpoint and region from their provider's own variables.
        """
        for name, value in dotenv_values(PROJECT_DIR / ".env").items():
            if name.startswith(_PROVIDER_PREFIXES) and value:
                os.environ.setdefault(name, value)

    @property
    def landing_file(self) -> Path:
        """Where `./deploy.sh dev --landing` remembers landing folders, in the form of `.env`."""
        return self.home / "landing.env"

    def environment(self) -> dict[str, str]:
        """The environment variables that programs of their own (dbt, psql, Airflow's tasks) need."""
        variables = {
            "ECOMMERCE_DW_HOME": str(self.home),
            "WAREHOUSE_HOST": self.warehouse_host,
            "WAREHOUSE_PORT": str(self.warehouse_port),
            "WAREHOUSE_SSLMODE": self.warehouse_sslmode,
            "WAREHOUSE_SSLROOTCERT": self.warehouse_sslrootcert,
            "WAREHOUSE_DB": self.warehouse_db,
            "WAREHOUSE_USER": self.warehouse_user,
            "WAREHOUSE_PASSWORD": self.warehouse_password.get_secret_value(),
            "LOADER_PASSWORD": self.loader_password.get_secret_value(),
            "TRANSFORMER_PASSWORD": self.transformer_password.get_secret_value(),
            "ANALYST_PASSWORD": self.analyst_password.get_secret_value(),
            "CONNECT_TIMEOUT_SECONDS": str(self.connect_timeout_seconds),
            "NETWORK_TIMEOUT_SECONDS": str(self.network_timeout_seconds),
            "FISCAL_YEAR_START_MONTH": str(self.fiscal_year_start_month),
            "AIRFLOW_PORT": str(self.airflow_port),
            "AIRFLOW_DB": self.airflow_db,
            "DBT_PROJECT_DIR": str(self.dbt_dir),
            "DBT_PROFILES_DIR": str(self.dbt_dir),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_TARGET_PATH": str(self.home / "dbt" / "target"),
            "DBT_LOG_PATH": str(self.home / "dbt" / "logs"),
            "DO_NOT_TRACK": "1",
        }
        return variables

    def role_login(self, role: Role) -> tuple[str, str]:
        """User name and password of a database role."""
        return {
            "owner": (self.warehouse_user, self.warehouse_password.get_secret_value()),
            "loader": ("loader", self.loader_password.get_secret_value()),
            "transformer": ("transformer", self.transformer_password.get_secret_value()),
            "analyst": ("analyst", self.analyst_password.get_secret_value()),
            "monitor": ("monitor", self.monitor_password.get_secret_value()),
            "pii_reader": ("pii_reader", self.pii_reader_password.get_secret_value()),
            "api": ("api", self.api_password.get_secret_value()),
        }[role]


def secret_names() -> list[str]:
    """The settings that are secrets, upper case: each may come from the file `<SETTING>_FILE` names."""
    return [name.upper() for name, field in Settings.model_fields.items() if field.annotation is SecretStr]


def secret_files(env_file: Path | None = PROJECT_DIR / ".env") -> dict[str, Path]:
    """Secret → the file that `<SETTING>_FILE` names; a relative one counts from the checkout."""
    variables = (dotenv_values(env_file) if env_file else {}) | os.environ
    named = {name: variables.get(f"{name}_FILE") for name in secret_names()}
    return {name: PROJECT_DIR / Path(file).expanduser() for name, file in named.items() if file}


def unreadable(file: Path) -> str | None:
    """Why a secret's file can't be read; None when it can."""
    try:
        file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        return str(error.strerror if isinstance(error, OSError) else error)
    return None


def read_settings() -> Settings:
    """The settings, with the default of a secret whose file can't be read: for who judges them."""
    return Settings()


@functools.cache
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        SecretFileError: A secret's file can't be read.
    """
    for name, file in secret_files().items():
        if reason := unreadable(file):
            raise SecretFileError(f"{name}_FILE names {file}, which can't be read: {reason}.")
    return read_settings()
