"""The suite file: reading it, its digest, and loading it without losing an expectation on the way."""

import hashlib
import json
import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import PipelineError

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

FOLDER = Path(__file__).resolve().parent
SUITE = FOLDER / "suites" / "dataset.json"
CODE = (FOLDER / "custom.py", FOLDER / "pixels.py")  # what decides about a frame beside Great Expectations itself


class SuiteUnusable(PipelineError):
    """The suite file cannot be read, or not every expectation in it was loaded."""


def suite_digest(path: Path = SUITE) -> str:
    """SHA-256 (hex) over the suite file and the source of the custom expectations."""
    digest = hashlib.sha256()
    for part in (path, *CODE):
        data = part.read_bytes()
        digest.update(f"{part.name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def read_suite(path: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """The suite file as plain JSON, with `parameters` filled into the descriptions (limits stay `$PARAMETER`).

    Raises `SuiteUnusable` for a file that is no suite, a description that is missing or used twice (it is the name
    under which people see the expectation), or one that names an unknown parameter.
    """
    try:
        plain: dict[str, Any] = json.loads(path.read_text())
        for entry in plain["expectations"]:
            entry["description"] = entry["description"].format(**parameters)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SuiteUnusable(
            f"suite {path.name} is not usable: {type(error).__name__}: {error}",
            next_step=f"every expectation needs type, kwargs and a description; known {{names}}: {sorted(parameters)}",
        ) from error
    names = Counter(entry["description"] for entry in plain["expectations"])
    twice = [name for name, times in names.items() if times > 1]
    if twice or not names:
        raise SuiteUnusable(
            f"suite {path.name}: " + (f"{twice} stand there more than once" if twice else "no expectation in it"),
            next_step="give every expectation a description of its own",
        )
    return plain


def load_suite(path: Path, parameters: dict[str, Any]) -> "ExpectationSuite":
    """The suite as Great Expectations sees it. Takes seconds the first time (imports Great Expectations).

    Great Expectations logs and drops what it cannot load, such as a class that nobody imported: the suite would pass
    by not looking. So what was loaded is compared with the file. Raises `SuiteUnusable` where they differ.
    """
    plain = read_suite(path, parameters)
    from great_expectations import ExpectationSuite

    import expectations.custom  # noqa: F401  registers the classes

    complaints = _Complaints()
    logger = logging.getLogger("great_expectations.core.expectation_suite")
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(complaints)
    try:
        suite = ExpectationSuite(name=plain["name"], expectations=plain["expectations"], meta=plain.get("meta"))
    except Exception as error:
        raise SuiteUnusable(
            f"suite {path.name} was refused by Great Expectations: {type(error).__name__}: {error}",
            next_step="compare the kwargs in the suite file with the expectation's own",
        ) from error
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagated
    wanted = Counter((entry["type"], entry["description"]) for entry in plain["expectations"])
    loaded = Counter((entry.expectation_type, entry.description) for entry in suite.expectations)
    if wanted != loaded:
        lost = [f"{kind} ({name})" for kind, name in (wanted - loaded).elements()]
        extra = [f"{kind} ({name})" for kind, name in (loaded - wanted).elements()]
        raise SuiteUnusable(
            f"suite {path.name} has {wanted.total()} expectations, {loaded.total()} were loaded; "
            f"lost: {', '.join(lost) or 'none'}{f'; not in the file: {extra}' if extra else ''}"
            + "".join(f"\n  {line}" for line in complaints.lines),
            next_step="check the type's spelling; a custom one must be a class in expectations/custom.py",
        )
    return suite


class _Complaints(logging.Handler):
    """Collects the first line of what Great Expectations logs while it drops something."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage().splitlines()[0])
