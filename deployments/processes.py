"""Detached processes of the local stack: started once, found again after any crash, stopped only if they are ours.

A process is remembered in a file with its id, start time and the boot it was started in: an id that the kernel gave to
another program since then is never taken for ours. Linux only (/proc).
"""

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import PipelineError

Say = Callable[[str], None]
LOG_LIMIT = 10_000_000  # bytes; a longer log is moved aside when its process starts


class ProcessDied(PipelineError):
    """A process ended while it was expected to come up, or did not answer in time."""


class PortTaken(PipelineError):
    """Another program listens where a part of the stack should."""


@dataclass(frozen=True)
class Part:
    """One detached process: how it is started and how one sees that it works.

    `settings_digest` in the pid file tells whether a running process still is what would be started now.
    """

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]  # on top of what is inherited
    folder: Path  # <data_dir>: pid files in run/, logs in logs/
    working_directory: Path
    address: str  # shown to people
    healthy: Callable[[], bool]
    port: int | None = None
    port_setting: str = ""  # the setting that moves the port
    start_seconds: float = 120.0

    @property
    def log(self) -> Path:
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        return self.folder / "run" / f"{self.name}.json"

    @property
    def settings_digest(self) -> str:
        text = json.dumps([list(map(str, self.command)), dict(self.environment), str(self.working_directory)])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Recorded:
    """What a pid file says."""

    pid: int
    start_ticks: int
    boot: str
    settings_digest: str
    address: str
    started_at: float  # seconds since the epoch

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return self.boot == _boot() and _start_ticks(self.pid) == self.start_ticks


def recorded(pid_file: Path) -> Recorded | None:
    """The process in `pid_file`, alive or not; None where there is none (or an unreadable file)."""
    try:
        return Recorded(**json.loads(pid_file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def start(part: Part) -> Recorded:
    """Starts `part` detached, with its output appended to its log. Does not wait for it to be healthy.

    Raises `PortTaken` where its port is in use.
    """
    if part.port:
        check_port(part.port, part.name, part.port_setting)
    part.log.parent.mkdir(parents=True, exist_ok=True)
    part.pid_file.parent.mkdir(parents=True, exist_ok=True)
    if part.log.exists() and part.log.stat().st_size > LOG_LIMIT:
        part.log.replace(part.log.with_suffix(".log.1"))
    with part.log.open("ab") as log:
        log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {part.name} starts ---\n".encode())
        log.flush()
        process = subprocess.Popen(
            part.command,
            env={**os.environ, **part.environment},
            cwd=part.working_directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal that started it is not meant for it
        )
    _started[process.pid] = process
    ticks = _start_ticks(process.pid)
    now = Recorded(process.pid, ticks or -1, _boot(), part.settings_digest, part.address, time.time())
    temporary = part.pid_file.with_suffix(".part")
    temporary.write_text(json.dumps(now.__dict__))
    temporary.replace(part.pid_file)
    return now


def wait_healthy(part: Part, now: Recorded, say: Say) -> float:
    """Returns the seconds it took until `part` answered. Raises `ProcessDied` with the end of its log."""
    started = last = time.monotonic()
    while True:
        waited = time.monotonic() - started
        if not now.alive:
            raise ProcessDied(
                f"{part.name} ended {waited:.0f} s after its start; the end of {part.log}:\n{tail(part.log)}",
                next_step="the log says why; then run `f2f up` again",
            )
        if part.healthy():
            return waited
        if waited > part.start_seconds:
            raise ProcessDied(
                f"{part.name} did not answer at {part.address} within {part.start_seconds:.0f} s; the end of "
                f"{part.log}:\n{tail(part.log)}",
                next_step="a slow machine may need a second `f2f up`; else the log says why",
            )
        if time.monotonic() - last > 5:
            last = time.monotonic()
            say(f"{part.name}: still starting ({waited:.0f} s)")
        time.sleep(0.1)


def stop(pid_file: Path, seconds: float = 15.0) -> bool:
    """Ends the recorded process (SIGTERM, after `seconds` SIGKILL); False where it did not run."""
    now = recorded(pid_file)
    if now is None or not now.alive:
        pid_file.unlink(missing_ok=True)
        return False
    for kind, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(now.pid, kind)
        end = time.monotonic() + limit
        while now.alive and time.monotonic() < end:
            time.sleep(0.05)
        if not now.alive:
            break
    else:
        raise PipelineError(f"process {now.pid} ({pid_file.stem}) does not end", next_step=f"look at it: ps {now.pid}")
    pid_file.unlink(missing_ok=True)
    return True


def answers(port: int, path: str) -> bool:
    """Whether a GET of `path` on 127.0.0.1:`port` is answered with 200. Never through a proxy."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def marked(name: str, value: str) -> dict[int, dict[str, str]]:
    """This user's living processes that were started with `name`=`value`: process id -> environment at the start."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                lines = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                environment = dict(line.split("=", 1) for line in lines if "=" in line)
                if environment.get(name) == value:
                    found[int(entry.name)] = environment
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where it is gone."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def check_port(port: int, name: str, setting: str, seconds: float = 3.0) -> None:
    """Raises `PortTaken` where 127.0.0.1:`port` cannot be bound, naming who holds it where that can be seen.

    Waits up to `seconds` for it: a process whose first thread has ended may still have others that hold its sockets.
    """
    end = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
            try:
                probe.bind(("127.0.0.1", port))
                return
            except OSError as error:
                if time.monotonic() > end:
                    raise PortTaken(
                        f"port {port} for {name} is in use{_holder(port)}",
                        next_step=f"stop that program, or set {setting} (environment or .env) to a free port",
                    ) from error
        time.sleep(0.1)


@contextlib.contextmanager
def locked(path: Path, say: Say, what: str) -> Iterator[None]:
    """Only one process at a time holds the lock at `path`; the kernel frees it whatever happens to the holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another `{what}` to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, indented."""
    try:
        text = log.read_bytes()[-20_000:].decode(errors="replace")
    except OSError:
        return "    (no log)"
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


# Children of this very process, kept so that they can be reaped: an unreaped child looks alive.
_started: dict[int, "subprocess.Popen[bytes]"] = {}


def _start_ticks(pid: int) -> int | None:
    """Clock ticks between boot and the start of process `pid` (proc(5), field 22); None where it does not run."""
    if pid in _started:
        _started[pid].poll()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _holder(port: int) -> str:
    """ " by process N (name)" of the one that listens on `port`, where /proc shows it to this user."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if any(str(handle.readlink()) in inodes for handle in (entry / "fd").iterdir()):
                    return f" by process {entry.name} ({(entry / 'comm').read_text().strip()})"
    return " by another program"
