"""All configuration: environment variables with the prefix `MDF_`, unknown names refused."""

import os
import re
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import quote

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.errors import BadInputError

PREFIX = "MDF_"
# Read by the client and the command line (`mdf/client.py`), not by the service.
CLIENT_NAMES = frozenset({"MDF_URL", "MDF_API_KEY"})
BUCKET_SCHEMES = ("s3://", "gs://", "az://")


class Settings(BaseSettings):
    """The service's settings; every default suits one machine without any set-up."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    home: Annotated[Path, Field(description="folder for everything the embedded stack keeps")] = (
        Path("~/.local/share/mdf")
    )
    database_url: Annotated[
        SecretStr | None,
        Field(description="SQLAlchemy URL; default: an SQLite file in `home`"),
    ] = None
    redis_url: Annotated[
        SecretStr | None,
        Field(description="redis:// or rediss:// URL; default: an embedded Redis in `home`"),
    ] = None
    blob_url: Annotated[
        str | None,
        Field(description="s3://, gs:// or az:// URL with prefix; default: a folder in `home`"),
    ] = None

    host: Annotated[str, Field(description="address that the API listens on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port of the API")] = 8000
    streams_per_key: Annotated[
        int,
        Field(
            ge=1, description="most event streams that one key holds open at a process of the API"
        ),
    ] = 2000
    trusted_proxies: Annotated[
        str,
        Field(
            description="addresses and networks of reverse proxies, separated by commas, whose "
            "`X-Forwarded-For` and `X-Forwarded-Proto` are believed"
        ),
    ] = "127.0.0.1,::1"
    session_hours: Annotated[
        float,
        Field(gt=0, le=24 * 365, description="time until a browser must log in again, hours"),
    ] = 24.0
    slots: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            description="worker slots that `mdf serve` starts, beside a light one; one per GPU",
        ),
    ] = 1

    max_upload_bytes: Annotated[int, Field(gt=0, description="largest image file, bytes")] = (
        25 * 1024 * 1024
    )
    max_model_bytes: Annotated[
        int, Field(gt=0, description="largest file of a model that is imported, bytes")
    ] = 512 * 1024 * 1024
    max_image_pixels: Annotated[
        int,
        Field(
            gt=0,
            description="largest image, pixels; fewer of what takes more memory to decode, as WebP",
        ),
    ] = 25_000_000
    min_image_side: Annotated[int, Field(gt=0, description="smallest image side, pixels")] = 32
    max_image_side: Annotated[int, Field(gt=0, description="largest image side, pixels")] = 8192
    max_dataset_bytes: Annotated[
        int, Field(gt=0, description="largest archive of a data set, and of its files, bytes")
    ] = 64 * 1024**3
    max_dataset_images: Annotated[
        int, Field(gt=0, le=10_000_000, description="most files in a data set")
    ] = 100_000
    dataset_roots: Annotated[
        str,
        Field(
            description="folders and bucket prefixes that data sets may be imported from, "
            "separated by commas; default: none"
        ),
    ] = ""
    perceptual_weights: Annotated[
        Path | None,
        Field(description="folder with the weights of the losses VGG and LPIPS"),
    ] = None
    disk_floor_bytes: Annotated[
        int, Field(ge=0, description="free disk below which new work is refused, bytes")
    ] = 512 * 1024 * 1024

    max_webhooks: Annotated[int, Field(ge=0, le=1000, description="most webhooks of an owner")] = 20
    webhook_networks: Annotated[
        str,
        Field(
            description="networks that webhooks may call, separated by commas, such as "
            "`10.1.0.0/16`; default: only what is reachable from the whole Internet"
        ),
    ] = ""

    requests_per_minute: Annotated[
        int,
        Field(
            ge=1,
            le=10**9,
            description="requests of one API key, those of a minute at once at most",
        ),
    ] = 6000
    failed_keys_per_minute: Annotated[
        int,
        Field(
            ge=1,
            le=10**9,
            description="requests of one address with a wrong API key, after which it is refused "
            "unheard",
        ),
    ] = 60
    stored_bytes: Annotated[
        int | None,
        Field(ge=0, le=2**53, description="what one owner may store, bytes; default: no limit"),
    ] = None
    queued_jobs: Annotated[int, Field(ge=0, le=10**9, description="queued jobs of one owner")] = (
        1000
    )
    running_jobs: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**9,
            description="jobs of one owner that run at the same time; default: no limit",
        ),
    ] = None
    max_queued_jobs: Annotated[
        int, Field(ge=0, le=10**9, description="queued jobs of all owners together")
    ] = 10_000

    heartbeat_seconds: Annotated[
        float, Field(gt=0, description="time between a running job's signs of life")
    ] = 5.0
    lease_seconds: Annotated[
        float, Field(gt=0, description="time without a sign of life after which a job is reclaimed")
    ] = 30.0
    checkpoint_seconds: Annotated[
        float, Field(ge=0, description="time between checkpoints of a running job")
    ] = 15.0
    max_attempts: Annotated[
        int,
        Field(
            ge=1,
            description="attempts that a job may lose in a row, without a step forward, before it "
            "fails as `worker_lost`",
        ),
    ] = 5
    stall_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="time without a step of a running job after which its process is ended, "
            "and another goes on",
        ),
    ] = 1800.0
    redispatch_seconds: Annotated[
        float, Field(gt=0, description="age at which a queued job is announced again")
    ] = 10.0
    keep_jobs_days: Annotated[
        float | None,
        Field(gt=0, description="time after which ended jobs are deleted; default: never"),
    ] = None
    keep_checkpoints_days: Annotated[
        float,
        Field(gt=0, description="time in which failed and canceled jobs can go on where they were"),
    ] = 30.0
    keep_uploads_days: Annotated[
        float,
        Field(gt=0, description="time after which unfinished data sets are deleted"),
    ] = 7.0
    keep_deliveries_days: Annotated[
        float, Field(gt=0, description="time after which webhooks' messages are forgotten")
    ] = 30.0
    threads: Annotated[
        int | None,
        Field(ge=1, description="CPU threads of a job process; default: the slot's share of cores"),
    ] = None
    log_level: Annotated[
        str,
        Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="least severity that is logged"),
    ] = "INFO"
    log_format: Annotated[
        str,
        Field(pattern="^(text|json)$", description="form of a line in the log: `text` or `json`"),
    ] = "text"

    @model_validator(mode="after")
    def _check_lease(self) -> Self:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"MDF_LEASE_SECONDS is {self.lease_seconds:g}; it must be at least twice "
                f"MDF_HEARTBEAT_SECONDS ({self.heartbeat_seconds:g})"
            )
        return self

    @model_validator(mode="after")
    def _check_roots(self) -> Self:
        for root in self.dataset_root_list:
            if not root.startswith(("/", *BUCKET_SCHEMES)):
                raise ValueError(
                    f"MDF_DATASET_ROOTS names {root!r}; each must be an absolute path or begin "
                    f"with one of {', '.join(BUCKET_SCHEMES)}"
                )
        return self

    @model_validator(mode="after")
    def _check_home(self) -> Self:
        if self.home_folder.is_file():
            raise ValueError(f"MDF_HOME is {self.home_folder}, which is a file: name a folder")
        return self

    @model_validator(mode="after")
    def _check_proxies(self) -> Self:
        for proxy in filter(None, self.trusted_proxies.split(",")):
            try:
                ip_network(proxy.strip())
            except ValueError:
                raise ValueError(
                    f"MDF_TRUSTED_PROXIES names {proxy.strip()!r}; each must be an address or a "
                    "network, such as 10.0.0.5 or 172.16.0.0/12"
                ) from None
        return self

    @model_validator(mode="after")
    def _check_webhook_networks(self) -> Self:
        try:
            _ = self.webhook_network_list
        except ValueError as error:
            raise ValueError(
                f"MDF_WEBHOOK_NETWORKS: each must be a network, such as 10.1.0.0/16: {error}"
            ) from None
        return self

    @cached_property
    def home_folder(self) -> Path:
        """`home`, absolute, with `~` expanded."""
        return self.home.expanduser().absolute()

    @property
    def dataset_root_list(self) -> tuple[str, ...]:
        """`dataset_roots`, each by itself; colons separate folders too, as in PATH."""
        roots = re.split(r",|:(?!//)", self.dataset_roots)
        return tuple(root.strip() for root in roots if root.strip())

    @property
    def webhook_network_list(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`webhook_networks`, each by itself."""
        networks = self.webhook_networks.split(",")
        return tuple(ip_network(network.strip()) for network in networks if network.strip())

    @cached_property
    def sqlalchemy_url(self) -> str:
        """Where the database is."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home_folder / 'mdf.sqlite'}"

    @cached_property
    def broker_socket(self) -> Path:
        """Unix socket of the embedded Redis: in `home`, or in a short path if that is too long.

        A socket's path holds at most 107 bytes on Linux.
        """
        socket = self.home_folder / "redis" / "redis.sock"
        if len(os.fsencode(socket)) <= 100:
            return socket
        from hashlib import sha256  # a path that long is rare

        digest = sha256(os.fsencode(self.home_folder)).hexdigest()[:16]
        return Path(f"/tmp/mdf-{os.getuid()}-{digest}/redis.sock")  # noqa: S108 - folder made 0700

    @cached_property
    def broker_url(self) -> str:
        """Where Celery's Redis is, as Celery writes it."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        return f"redis+socket://{quote(str(self.broker_socket))}"

    @cached_property
    def redis_client_url(self) -> str:
        """The same as `broker_url`, as redis-py writes it."""
        return self.broker_url.replace("redis+socket://", "unix://", 1)

    def environment(self) -> dict[str, str]:
        """The variables from which `load_settings` makes these settings again."""
        values = {name: getattr(self, name) for name in Settings.model_fields}
        values["home"] = self.home_folder
        return {
            PREFIX + name.upper(): str(
                value.get_secret_value() if isinstance(value, SecretStr) else value
            )
            for name, value in values.items()
            if value is not None
        }


def load_settings() -> Settings:
    """Read the environment; refuse an `MDF_` name or value that means nothing."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | CLIENT_NAMES
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise BadInputError(
            f"unknown setting {', '.join(unknown)} in the environment; known: "
            + ", ".join(sorted(known))
        )
    try:
        return Settings()
    except ValidationError as error:
        faults = "; ".join(_fault(fault) for fault in error.errors())
    # Not from the error above: it quotes everything that was given, secrets too.
    raise BadInputError(f"wrong setting: {faults}")


def _fault(fault: ErrorDetails) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:  # of several settings, which the message names
        return message
    name = str(fault["loc"][0])
    given = "" if _is_secret(name) else f"; it is {fault['input']!r}"
    return f"{PREFIX}{name.upper()}: {message[:1].lower()}{message[1:]}{given}"


def _is_secret(name: str) -> bool:
    field = Settings.model_fields.get(name)
    return field is None or "SecretStr" in str(field.annotation)
