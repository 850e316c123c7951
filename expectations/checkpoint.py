"""The gate before training: a Great Expectations checkpoint over the manifest of a data set version.

It fails closed. An expectation that raises has failed, with its error; a checkpoint that crashes, a suite that was not
loaded whole or a result that is not there raises: nothing but a complete run with every answer yes is a success.
Importing this file is cheap; Great Expectations (seconds) is imported when there is something to do.
"""

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from expectations.pixels import BlobPath, shards_from
from expectations.suite import SUITE, load_suite, suite_digest
from tasks.erased_blobs import Shards
from tasks.errors import PipelineError
from tasks.lineage import DatasetVersion, ExpectationOutcome, ValidationOutcome
from tasks.parameters import ValidationParameters
from tasks.store import Store

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("f2f.validation")

EXAMPLES = 8  # example frames that an outcome carries for each expectation


class ValidationCrashed(PipelineError):
    """The checkpoint did not come to a complete result. Never a success; nothing is stored, a rerun tries again."""


class ValidationFailed(PipelineError):
    """The data set breaks at least one critical expectation."""


def validate(
    store: Store,
    version: DatasetVersion,
    manifest: pa.Table,
    parameters: ValidationParameters,
    *,
    suite_file: Path = SUITE,
) -> ValidationOutcome:
    """Judges a data set version and stores the outcome (at its `key`) and the Data Docs (below its `docs`).

    `manifest`: one row a frame, the columns of `tasks.lineage.Frame`; the shards it points to are read from `store`
    (or its cache) and every frame's shape, dtype and hash is checked. A stored outcome for the same data set, suite
    and parameters is returned without any work, except where one of its expectations ended in an error: that may
    have been the weather. 12,791 frames (245 MB of pixels, cached) take 1 to 2 s once Great
    Expectations is imported, which takes 4 to 10.

    Raises `ValidationCrashed`, `SuiteUnusable`, `StoreError`. A data set that breaks an expectation is an outcome
    with `success=False`; `require_valid` makes an error of it.
    """
    suite = suite_digest(suite_file)
    digest = ValidationOutcome.digest_for(dataset=version.digest, suite=suite, parameters=parameters)
    key = f"datasets/{version.digest}/validation-{digest}.json"
    known = store.find_record(key, ValidationOutcome)
    if known and not any(found.error for found in known.expectations):
        logger.info("data set %s was judged before: %s", version.digest[:12], _told(known))
        return known
    started = time.monotonic()
    values = {**parameters.model_dump(), "frames": sum(sum(split.values()) for split in version.counts.values())}
    with tempfile.TemporaryDirectory(prefix="f2f-validation-") as folder:
        site = Path(folder)
        found = run_checkpoint(_as_frame(manifest), suite_file, values, Shards(store).path, site, run=digest[:16])
        outcome = ValidationOutcome(
            dataset=version.digest,
            suite=suite,
            parameters=parameters,
            success=not any(_stops(one) for one in found),
            expectations=found,
            docs=f"datasets/{version.digest}/data-docs/{digest[:16]}",
        )
        from expectations.data_docs import publish

        publish(store, outcome, version, site)
    assert outcome.key == key
    store.put_record(key, outcome)  # last: an outcome that is there has its Data Docs
    logger.info("data set %s: %s in %.1f s", version.digest[:12], _told(outcome), time.monotonic() - started)
    return outcome


def require_valid(outcome: ValidationOutcome, *, public_base_url: str | None = None) -> None:
    """Returns when the outcome is a success. Raises `ValidationFailed` with every failing expectation by name, what
    was observed and example frames; `public_base_url` makes a link of the Data Docs' key."""
    if outcome.success:
        return
    lines = [f"data set {outcome.dataset[:12]} is not fit for training: {_told(outcome)}"]
    for found in outcome.expectations:
        if _stops(found):
            lines.append(
                f"  - {found.name}; " + (f"error: {found.error}" if found.error else f"found: {found.observed}")
            )
            lines += [f"      {key}" for key in found.examples]
    index = f"{outcome.docs}/index.html"
    docs = f"{public_base_url.rstrip('/')}/{index}" if public_base_url else f"{index} in the bucket"
    raise ValidationFailed(
        "\n".join(lines),
        next_step=f"read the Data Docs ({docs}), then correct or remove the frames, or change the limits",
    )


def run_checkpoint(
    frames: "pd.DataFrame",
    suite_file: Path,
    values: dict[str, Any],
    blob_path: BlobPath,
    site: Path,
    *,
    run: str = "run",
) -> tuple[ExpectationOutcome, ...]:
    """Runs the suite in `suite_file` over `frames`, one outcome an expectation in the order of the file.

    `values` are the suite's parameters, `blob_path` finds shards by SHA-256, and the Data Docs of this `run` are built
    below `site` (Great Expectations' own pages; `data_docs.publish` makes them fit for a bucket).
    Raises `SuiteUnusable`, `ValidationCrashed`.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read on import
    with _quiet():
        suite = load_suite(suite_file, values)
    names = [str(entry.description) for entry in suite.expectations]
    try:
        with shards_from(blob_path), _quiet():
            results = _results(frames, suite, values, site, run)
    except Exception as error:
        raise ValidationCrashed(
            f"the checkpoint crashed: {type(error).__name__}: {error}",
            next_step="this counts as a failed validation; run it again, and report it when it stays",
        ) from error
    found = {outcome.name: outcome for outcome in map(_outcome, results)}
    if sorted(found) != sorted(names) or len(results) != len(names):
        raise ValidationCrashed(
            f"the checkpoint gave {len(results)} results for {len(names)} expectations; "
            f"missing: {sorted(set(names) - set(found))}",
            next_step="this counts as a failed validation; run it again, and report it when it stays",
        )
    return tuple(found[name] for name in names)


def _results(frames: "pd.DataFrame", suite: Any, values: dict[str, Any], site: Path, run: str) -> list[Any]:
    """The checkpoint itself: everything in memory, but for the Data Docs in `site`."""
    import great_expectations as gx
    from great_expectations.checkpoint import UpdateDataDocsAction
    from great_expectations.core.run_identifier import RunIdentifier

    from expectations.data_docs import context_config

    context = gx.get_context(mode="ephemeral", project_config=context_config(site))
    batch = context.data_sources.add_pandas("frames").add_dataframe_asset("manifest")
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(
            name="dataset",
            data=batch.add_batch_definition_whole_dataframe("all frames"),
            suite=context.suites.add(suite),
        )
    )
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name="dataset",
            validation_definitions=[definition],
            actions=[UpdateDataDocsAction(name="data docs")],
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": ["key"],
                "partial_unexpected_count": 20,
            },
        )
    )
    result = checkpoint.run(
        batch_parameters={"dataframe": frames},
        expectation_parameters=values,
        run_id=RunIdentifier(run_name=run, run_time=datetime.now(UTC)),
    )
    (judged,) = result.run_results.values()
    return list(judged.results)


def _outcome(result: Any) -> ExpectationOutcome:
    """One result of Great Expectations as a record. Only a plain True without an error is a success."""
    config, found = result.expectation_config, result.result or {}
    error = _error(result.exception_info or {})
    unexpected = int(found.get("unexpected_count") or 0)
    places = found.get("partial_unexpected_index_list") or ()
    keys = dict.fromkeys(str(place["key"]) for place in places if isinstance(place, dict) and "key" in place)
    return ExpectationOutcome(
        name=str(config.description),
        expectation=config.type,
        success=result.success is True and not error,
        severity=str(getattr(config.severity, "value", config.severity)),
        observed=_observed(found, unexpected),
        unexpected=unexpected,
        examples=tuple(list(keys)[:EXAMPLES]),
        error=error,
    )


def _observed(found: dict[str, Any], unexpected: int) -> str:
    """What was seen, in a few words."""
    lacking = found.get("partial_missing_list") or (found.get("details") or {}).get("mismatched", {}).get("missing")
    if lacking:
        return f"lacks {', '.join(map(str, lacking))}"
    if found.get("observed_value") is not None:
        value = found["observed_value"]
        return ", ".join(map(str, value)) or "nothing" if isinstance(value, list | set | tuple) else str(value)
    if not unexpected:
        return ""
    counted = [f"{_value(one['value'])} ({one['count']})" for one in found.get("partial_unexpected_counts") or ()][:4]
    return f"{unexpected} of {found.get('element_count', '?')} frames" + (f": {', '.join(counted)}" if counted else "")


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)


def _error(info: dict[str, Any]) -> str:
    """The last line that an exception left: flat, or one level down for each metric that failed."""
    entries = [info] if "raised_exception" in info else [one for one in info.values() if isinstance(one, dict)]
    for one in entries:
        if one.get("raised_exception"):
            last = [line for line in str(one.get("exception_traceback") or "").splitlines() if line.strip()][-1:]
            return str(one.get("exception_message") or "").strip() or "".join(last) or "raised without a message"
    return ""


def _stops(found: ExpectationOutcome) -> bool:
    """Whether this ends the flow: a failed critical expectation, and any that could not be evaluated."""
    return bool(found.error) or (not found.success and found.severity == "critical")


def _told(outcome: ValidationOutcome) -> str:
    failing, every = sum(map(_stops, outcome.expectations)), len(outcome.expectations)
    if not failing:
        return f"all {every} expectations hold"
    return f"{failing} of {every} expectations {'does' if failing == 1 else 'do'} not hold"


def _as_frame(manifest: pa.Table) -> "pd.DataFrame":
    """The manifest as plain columns. A dictionary column would become a pandas Categorical, whose categories count
    as values even where no row has them: a class that is not there would be found."""
    for number, field in enumerate(manifest.schema):
        if pa.types.is_dictionary(field.type):
            plain = manifest.column(number).cast(field.type.value_type)
            manifest = manifest.set_column(number, field.name, plain)
    return manifest.to_pandas()


@contextmanager
def _quiet() -> Iterator[None]:
    """No chatter of Great Expectations on stderr; what matters is in the results."""
    chatty = logging.getLogger("great_expectations")
    before = chatty.level
    chatty.setLevel(logging.ERROR)
    try:
        yield
    finally:
        chatty.setLevel(before)
