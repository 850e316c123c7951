"""Settings of the local stack: what `f2f up` decides and writes, and how the rest of the project picks it up."""

import configparser
import os
import secrets
from pathlib import Path

from dotenv import dotenv_values

from deployments import prefect_server
from deployments.prefect_database import database
from tasks.errors import PipelineError
from tasks.settings import PROJECT, Settings, settings, stack_file

PROFILE = "f2f"  # in <data_dir>/credentials
_applied: list[str] = []  # what apply_stack_environment put into this process's environment: not the user's choice


def apply_stack_environment() -> None:
    """Points this process at the local stack's Prefect server when it is up; call it before Prefect is imported.

    What the user set (PREFECT_API_URL, PREFECT_HOME) stays. Without a server Prefect starts one of its own for the
    run, on the same database, so that the run shows up in the UI later.
    """
    where = absolute(settings())
    no_proxy()
    url = None
    if not user_prefect_url():
        local = dotenv_values(stack_file(where.data_dir)).get("PREFECT_API_URL")
        url = local if local and prefect_server.healthy(local) else None
        postgres = None if url else database()  # of the server that Prefect starts for the run
        if postgres:
            postgres.check()
            os.environ.setdefault("PREFECT_API_DATABASE_CONNECTION_URL", postgres.secret_url)
    if url:
        _applied.append(url)
    for name, value in prefect_server.client_environment(where.data_dir, url).items():
        os.environ.setdefault(name, value)


def user_prefect_url() -> str | None:
    """PREFECT_API_URL where the user set it, in the environment or in .env."""
    chosen = os.environ.get("PREFECT_API_URL")
    return (chosen if chosen not in _applied else None) or dotenv_values(PROJECT / ".env").get("PREFECT_API_URL")


def absolute(where: Settings) -> Settings:
    """`where` with a data folder that means the same in every process."""
    return where.model_copy(update={"data_dir": where.data_dir.expanduser().absolute()})


def reached_settings(own: Settings, folder: Path) -> Settings:
    """`own` with the addresses of the parts that the stack runs."""
    update: dict[str, object] = {}
    if own.endpoint_url is None:
        update |= {"endpoint_url": f"http://127.0.0.1:{own.s3_port}", "profile": PROFILE}
        update |= {"credentials_file": folder / "credentials"}
    if own.public_base_url is None:
        update["public_base_url"] = f"http://127.0.0.1:{own.reports_port}"
    return own.model_copy(update=update)


def settings_environment(where: Settings) -> dict[str, str]:
    """`where` as F2F_* variables."""
    return {f"F2F_{name.upper()}": str(value) for name, value in where.model_dump().items() if value is not None}


def write_stack_file(reached: Settings, prefect_url: str | None) -> None:
    """What `tasks/settings.py` reads when nothing else is set. Holds no secret: those are in the credentials file."""
    values = settings_environment(reached) | ({"PREFECT_API_URL": prefect_url} if prefect_url else {})
    values.pop("F2F_DATA_DIR")  # it is where this file lies
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in values.items()}
    lines = ["# Written by `f2f up` on every start; your own settings belong into .env, which wins over this file."]
    lines += [f"{name}='{value}'" for name, value in quoted.items()]
    path = stack_file(reached.data_dir)
    part = path.with_suffix(".part")
    part.write_text("\n".join(lines) + "\n")
    part.replace(path)


def credentials(folder: Path) -> tuple[str, str]:
    """The local server's access and secret key: made at random once, in a file that only its owner can read."""
    path = folder / "credentials"
    if not path.exists():
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"[{PROFILE}]\naws_access_key_id = f2f{secrets.token_hex(8)}\n")
            file.write(f"aws_secret_access_key = {secrets.token_hex(24)}\n")
        part.replace(path)
    parser = configparser.RawConfigParser()
    try:
        parser.read(path)
        return parser[PROFILE]["aws_access_key_id"], parser[PROFILE]["aws_secret_access_key"]
    except (configparser.Error, KeyError) as error:
        raise PipelineError(
            f"{path} holds no profile [{PROFILE}] with two keys", next_step="delete it: `f2f up` makes a new one"
        ) from error


def no_proxy() -> None:
    """A proxy for the outside world has no business between the parts of the stack."""
    for name in ("no_proxy", "NO_PROXY"):
        known = [item for item in os.environ.get(name, "").split(",") if item]
        os.environ[name] = ",".join([*known, *(h for h in ("127.0.0.1", "localhost") if h not in known)])
