"""Where things are: from the environment (`F2F_*`), `.env`, then the file that `f2f up` writes for the local stack.

Secrets are not settings: S3 credentials come from boto3's own chain (environment, profile, instance role).
"""

from functools import lru_cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT = Path(__file__).resolve().parent.parent


def stack_file(data_dir: Path) -> Path:
    """The settings that `f2f up` wrote: KEY=VALUE lines with the addresses of the local stack."""
    return data_dir / "stack.env"


class Settings(BaseSettings):
    """Where the bucket is, where local data may lie, and how people reach reports."""

    # A container's template hands on variables that may be empty: those count as not set.
    model_config = SettingsConfigDict(env_prefix="F2F_", extra="ignore", env_ignore_empty=True)

    endpoint_url: str | None = Field(None, description="S3 endpoint; none: AWS.")
    region: str = Field("us-east-1", description="S3 region.")
    bucket: str = Field("frames2firmware", description="Bucket that holds everything.")
    prefix: str = Field("", description="Key prefix inside the bucket, without slashes at the ends.")
    profile: str | None = Field(None, description="Profile in the credentials file.")
    credentials_file: Path | None = Field(None, description="AWS credentials file; none: boto3's own places.")
    device_endpoint_url: str | None = Field(None, description="S3 endpoint as devices reach it; none: endpoint_url.")
    public_base_url: str | None = Field(None, description="Under which the bucket's reports are served to people.")
    data_dir: Path = Field(PROJECT / ".f2f", description="Local data: stack, cache, checkpoints.")
    firmware_target_dir: Path | None = Field(None, description="Where firmware is compiled; none: in data_dir.")
    signing_key_file: Path | None = Field(None, description="Private Ed25519 key (PEM) that signs releases.")
    trusted_keys_file: Path | None = Field(None, description="Public keys (PEM) whose signatures count.")
    s3_port: int = Field(9103, description="Port of the local S3 server.")
    prefect_port: int = Field(4200, description="Port of the local Prefect server.")
    reports_port: int = Field(4280, description="Port on which the local stack serves reports.")
    bridge_port: int = Field(4281, description="Port on which the local stack hears of new objects.")
    gate_port: int = Field(4282, description="Port on which devices ask for upload URLs.")

    @property
    def cache_dir(self) -> Path:
        """Blobs that were already fetched, by SHA-256. May be deleted at any time."""
        return self.data_dir / "cache"

    @property
    def firmware_builds(self) -> Path:
        """cargo's folders, one a board and engine. May be deleted at any time: the next build takes half a minute."""
        return (self.firmware_target_dir or self.data_dir / "firmware" / "target").expanduser().absolute()


def own_settings() -> Settings:
    """What the user set: environment and `.env`, without the file of the local stack."""
    return Settings(_env_file=PROJECT / ".env")


@lru_cache
def settings() -> Settings:
    """The settings of this process. Environment wins over `.env`, `.env` over the local stack's file."""
    own = own_settings()
    merged = Settings(_env_file=(stack_file(own.data_dir), PROJECT / ".env"))
    if own.endpoint_url:  # the local stack's credentials are for its own server only
        return merged.model_copy(update={"profile": own.profile, "credentials_file": own.credentials_file})
    return merged
