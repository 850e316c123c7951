"""PostgreSQL behind the local Prefect server instead of SQLite: F2F_PREFECT_DATABASE_URL.

The URL may hold a password. It is therefore not among the settings that `f2f up` writes down and hands on: it is read
from the environment or `.env` and given to the Prefect server alone. libpq's own places for a password (PGPASSWORD,
~/.pgpass) work too.
"""

import asyncio
import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from tasks.errors import PipelineError
from tasks.settings import PROJECT

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SETTING = "F2F_PREFECT_DATABASE_URL"
_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")


class DatabaseRefused(PipelineError):
    """The database behind the Prefect server cannot be used; the message never holds the password."""


@dataclass(frozen=True, repr=False)
class Database:
    """A PostgreSQL database. Not printable: it knows the password."""

    _url: "URL"

    @property
    def name(self) -> str:
        """For people: database, host and port."""
        url = self._url
        return f"{url.database or url.username or ''} on {url.host or 'this machine'}:{url.port or 5432}"

    @property
    def secret_url(self) -> str:
        """For Prefect, password included: `postgresql+asyncpg://`, with libpq's `sslmode` as asyncpg's `ssl`."""
        url, query = self._url.set(drivername="postgresql+asyncpg"), dict(self._url.query)
        if "sslmode" in query:
            query["ssl"] = query.pop("sslmode")
        return url.set(query=query).render_as_string(hide_password=False)

    def check(self, seconds: float = 10.0) -> None:
        """Connects once. Raises `DatabaseRefused` that says what is wrong with which database."""
        asyncio.run(self._check(seconds))

    def answers(self) -> bool:
        """Whether one can connect to it now."""
        try:
            self.check(3.0)
        except DatabaseRefused:
            return False
        return True

    async def _check(self, seconds: float) -> None:
        import asyncpg  # type: ignore[import-untyped]

        query = dict(self._url.query)
        if "ssl" in query:
            query["sslmode"] = query.pop("ssl")
        dsn = self._url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
        try:
            connection = await asyncio.wait_for(asyncpg.connect(dsn, timeout=seconds), seconds)
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                await connection.close(timeout=seconds)
        except (TimeoutError, OSError) as error:
            said = getattr(error, "strerror", None) or str(error)
            reason = f": {said}" if said else ""
            raise DatabaseRefused(
                f"the Prefect database {self.name} does not answer{reason}",
                next_step=f"start PostgreSQL there, correct {SETTING}, or unset it for SQLite",
            ) from None  # what is behind it may hold the URL
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            # The server's words; a password that does not fit is not among them.
            raise DatabaseRefused(
                f"the Prefect database {self.name} refuses user {self._url.username or '(none named)'}: {error}",
                next_step=f"user and database must exist, and the user own the database; correct {SETTING}",
            ) from None


def database() -> Database | None:
    """The database that the user named, in the environment or in .env; None: SQLite in the data folder.

    Raises `DatabaseRefused` for an URL that is not one of PostgreSQL.
    """
    text = os.environ.get(SETTING) or dotenv_values(PROJECT / ".env").get(SETTING)
    if not text:
        return None
    from sqlalchemy.engine import make_url  # half a second that SQLite does not cost
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # their words may hold the URL
        url = None
    if url is None or url.drivername not in _SCHEMES or not url.database:
        raise DatabaseRefused(
            f"{SETTING} is not the URL of a PostgreSQL database",
            next_step="expected is postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with anything but letters and digits "
            "in the password as %XX",
        )
    return Database(url)
