"""Which code made a result: part of every record's identity, so that changed code never reuses an old result."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType


def code_version(modules: Sequence[ModuleType]) -> str:
    """SHA-256 (hex) over the names and source files of `modules`, in name order.

    Whole files, not single functions: a changed constant or helper beside the function counts as well. Raises
    `ValueError` for a module that has no source file.
    """
    digest = hashlib.sha256()
    for module in sorted(modules, key=lambda module: module.__name__):
        if not module.__file__:
            raise ValueError(f"{module.__name__} has no source file to digest")
        source = _source(module.__file__)
        digest.update(f"{module.__name__}\0{len(source)}\0".encode())
        digest.update(source)
    return digest.hexdigest()


@cache
def _source(path: str) -> bytes:
    """Read once a process: a file that is edited while a long run goes on is not the code that runs."""
    return Path(path).read_bytes()
