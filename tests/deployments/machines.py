"""Machines for tests: processes in network, mount, process-id and host-name namespaces of their own.

A machine reads the system's files, as a second one with the same packages would, and nothing that makes a checkout: it
has a copy of the code on a disk of its own (a tmpfs that goes away with it), writes nowhere else, and reaches this
namespace through a veth pair. `kill` is a power cut.
"""

import contextlib
import ipaddress
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tasks.settings import PROJECT

_UNSHARE = ["unshare", "--mount", "--net", "--pid", "--uts", "--fork", "--kill-child=KILL", "--mount-proc"]

# What process 1 of a new machine does, as root. Parameters are in the environment (see `Network.start`), the code is
# an archive on standard input.
_BOOT = """
set -eu
tries=0
until ip link show "$LINK" >/dev/null 2>&1; do tries=$((tries + 1)); [ $tries -lt 200 ]; sleep 0.1; done
hostname "$NAME"
ip link set lo up
ip address add "$ADDRESS" dev "$LINK"
ip link set "$LINK" up
ip route add "$HUB" via "$GATEWAY"

mount -t tmpfs -o mode=755 tmpfs "$DISK"
mkdir -p "$DISK/home" "$DISK/tmp" "$CODE"
tar -C "$CODE" -xf -
mkdir "$DISK/venv"
mount --bind "$VENV" "$DISK/venv"
mount -t tmpfs tmpfs "$PROJECT"  # hidden, but for the packages if they are in it
mkdir -p "$VENV"
mount --bind "$DISK/venv" "$VENV"
umount "$DISK/venv"
mount -t tmpfs tmpfs /dev/shm
while read -r _ _ _ _ point _; do
  case "$point" in
    "$DISK" | /dev | /dev/* | /proc | /proc/* | /sys | /sys/*) ;;
    *) mount -o remount,bind,ro "$point" || true ;;  # one that is hidden by now
  esac
done < /proc/self/mountinfo
cd "$CODE"
"$@"
"""


def require_namespaces() -> None:
    """Skips, with the reason, where such machines cannot be made."""
    for program in ("ip", "unshare", "nsenter", "tar", "hostname"):
        if not shutil.which(program):
            pytest.skip(f"needs namespaces: there is no `{program}` here")
    if os.geteuid() != 0:
        pytest.skip("needs namespaces: only root makes network and mount namespaces that reach this one")
    probe = "mount -t tmpfs tmpfs /dev/shm && ip link add f2fprobe type veth peer name f2fprobe2"
    answer = subprocess.run([*_UNSHARE, "sh", "-c", probe], capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip(f"needs namespaces, which are refused here: {answer.stderr.strip() or answer.returncode}")


@dataclass
class Machine:
    """One machine, running a command as its only work."""

    name: str
    disk: Path
    code: Path
    log: Path
    process: "subprocess.Popen[bytes]" = field(repr=False)

    def kill(self) -> None:
        """Everything in it ends at once, without a word to anybody, and its disk is gone."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)  # the kernel kills process 1 with it, and with that all others
        self.process.wait(20)

    def run(self, *line: str) -> "subprocess.CompletedProcess[str]":
        """A command inside it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        enter = ["nsenter", "--target", children[0], "--mount", "--net", "--pid", "--uts"]
        return subprocess.run([*enter, *line], capture_output=True, text=True, check=False)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


class Network:
    """Machines, each behind a veth pair of its own, in a block of 10.0.0.0/8 that nothing here uses.

    `hub` is the address in this namespace that all of them can reach; they cannot reach each other.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        block = _unused_block()
        self.block = str(block)
        self._subnets = list(block.subnets(new_prefix=30))
        self._links: list[str] = []
        self._tag = f"{random.randrange(16**5):05x}"
        self.machines: list[Machine] = []
        self._code = folder / "code.tar"  # once: a checkout may be edited while machines are made of it
        kept_out = [f"--exclude={name}" for name in ("./.venv", "./.f2f", "./.git", "./.env", "target")]
        subprocess.run(["tar", "-C", PROJECT, *kept_out, "-cf", self._code, "."], check=True)
        self.disk = folder  # where every machine mounts its own disk, over what is in this folder here
        # On a pair that stays, both ends here: a machine that ends takes its own pair with it.
        subnet, _, _ = self._pair()
        self.hub = str(subnet[1])

    def start(self, name: str, code: str, line: list[str], environment: Mapping[str, str]) -> Machine:
        """A machine with its copy of the code in `code` on its disk, running `line` in it."""
        subnet, _, peer = self._pair()
        path, log = self.disk / code, self.folder / f"{name}.log"
        setup = {
            "LINK": peer,
            "ADDRESS": f"{subnet[2]}/30",
            "GATEWAY": str(subnet[1]),
            "HUB": self.hub,
            "NAME": name,
            "DISK": str(self.disk),
            "CODE": str(path),
            "PROJECT": str(PROJECT),
            "VENV": sys.prefix,
        }
        with log.open("wb") as output, self._code.open("rb") as code_archive:
            process = subprocess.Popen(
                [*_UNSHARE, "sh", "-c", _BOOT, "boot", *line],
                env=_system_environment() | self._own_folders() | dict(environment) | {"PYTHONPATH": str(path)} | setup,
                stdin=code_archive,
                stdout=output,
                stderr=output,
                cwd="/",
            )
        machine = Machine(name, self.disk, path, log, process)
        self.machines.append(machine)
        mine, end = Path("/proc/self/ns/net").readlink(), time.monotonic() + 20
        while Path(f"/proc/{process.pid}/ns/net").readlink() == mine:
            assert process.poll() is None, machine.tail()
            assert time.monotonic() < end
            time.sleep(0.05)
        _ip("link", "set", peer, "netns", str(process.pid))
        return machine

    def close(self) -> None:
        """Ends every machine and removes every link."""
        for machine in self.machines:
            machine.kill()
        for link in self._links:  # takes its peer with it, wherever that is
            subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)

    def _own_folders(self) -> dict[str, str]:
        return {"HOME": str(self.disk / "home"), "TMPDIR": str(self.disk / "tmp")}

    def _pair(self) -> tuple[ipaddress.IPv4Network, str, str]:
        subnet = self._subnets.pop(0)
        link, peer = (f"f2f{self._tag}{side}{len(self._links)}" for side in "hm")
        _ip("link", "add", link, "type", "veth", "peer", "name", peer)
        self._links.append(link)
        _ip("address", "add", f"{subnet[1]}/30", "dev", link)
        _ip("link", "set", link, "up")
        return subnet, link, peer


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network of machines; nothing of it is left, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="f2f-machines-"))
    made = None
    try:
        made = Network(folder)
        yield made
    finally:
        if made:
            made.close()
        shutil.rmtree(folder, ignore_errors=True)


def _system_environment() -> dict[str, str]:
    """What a login gives on any machine: no settings of this project, of AWS or of Prefect, no proxy."""
    home = Path.home()
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(home / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
        "PYTHONDONTWRITEBYTECODE": "1",  # the packages are read-only
        "PYTHONUNBUFFERED": "1",
    }


def _unused_block() -> ipaddress.IPv4Network:
    """A /27 that no route of this namespace leads to, other than the default one."""
    for _ in range(50):
        block = ipaddress.IPv4Network((10 << 24 | random.randrange(1 << 19) << 5, 27))
        taken = [line.split()[0] for line in _ip("route", "show", "table", "all").splitlines() if line]
        known = [ipaddress.IPv4Network(one, strict=False) for one in taken if one[0].isdigit() and ":" not in one]
        if not any(block.overlaps(one) for one in known):
            return block
    raise AssertionError("no free block in 10.0.0.0/8")


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
