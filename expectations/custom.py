"""The expectations that Great Expectations does not have. Importing this file registers them (and takes seconds).

Each is a question about the whole manifest, a pandas DataFrame with one row a frame (the columns of
`tasks.lineage.Frame`), answered by `_find` as a `Finding`. The sentence that people read, in messages and in the Data
Docs, is the `description` in the suite file.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import pandas as pd
from great_expectations.execution_engine import ExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation

from expectations.pixels import hash_problems, shape_problems, shard_source

SHOWN = 20  # rows of examples that a result carries


class Finding(NamedTuple):
    """What an expectation found. `unexpected`: (key of the frame, why) of every frame that should not be as it is."""

    success: bool
    observed: str
    unexpected: Sequence[tuple[str, str]] = ()


class ManifestExpectation(BatchExpectation, ABC):
    """Base: hands the manifest to `_find` and its finding to Great Expectations."""

    @abstractmethod
    def _find(self, frames: pd.DataFrame) -> Finding:
        """Judges the manifest. Raises where it cannot be judged: that counts as failed."""

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: ExecutionEngine | None = None,
    ) -> dict[str, Any]:
        assert execution_engine is not None
        frames = execution_engine.get_domain_records(domain_kwargs={"batch_id": self.batch_id})
        try:
            found = self._find(frames)
        except KeyError as error:
            raise LookupError(f"the manifest has no column {error}") from error
        bad = found.unexpected
        return {
            "success": found.success,
            "result": {
                "observed_value": found.observed,
                "element_count": len(frames),
                "unexpected_count": len(bad),
                "unexpected_percent": 100 * len(bad) / len(frames) if len(frames) else 0.0,
                "partial_unexpected_list": [f"{key}: {why}" for key, why in bad[:SHOWN]],
                "partial_unexpected_index_list": [{"key": key} for key, _ in bad[:SHOWN]],
            },
        }


class ExpectColumnValuesToStayInOneSplit(ManifestExpectation):
    """No value of `column` (a session, a hash) occurs in more than one split: what trained must not judge."""

    column: str
    success_keys: ClassVar[tuple[str, ...]] = ("column",)

    def _find(self, frames: pd.DataFrame) -> Finding:
        per_split = frames.groupby([self.column, "split"], sort=True, observed=True)
        counts = per_split.size().unstack(fill_value=0)
        crossing = counts[(counts > 0).sum(axis=1) > 1]
        if crossing.empty:
            return Finding(True, "none")
        told = [
            f"{_short(value)} ({', '.join(f'{split} {n}' for split, n in row.items() if n)})"
            for value, row in crossing.head(5).iterrows()
        ]
        more = f" and {len(crossing) - 5} more" if len(crossing) > 5 else ""
        inside = frames[frames[self.column].isin(crossing.index)]
        # One frame of every value and split first, so that the examples show both sides of each crossing.
        order = inside.groupby([self.column, "split"], observed=True).cumcount()
        inside = inside.assign(_order=order).sort_values(["_order", self.column, "split"], kind="stable")
        why = [
            f"{self.column} {_short(value)} in {split}"
            for value, split in zip(inside[self.column], inside["split"], strict=True)
        ]
        return Finding(False, "; ".join(told) + more, list(zip(inside["key"].astype(str), why, strict=True)))


class ExpectClassShareInSplitToBeAtMost(ManifestExpectation):
    """The larger class has at most `max_share` (0..1) of the frames of `split`; a split without frames has no share
    and fails."""

    split: str
    max_share: float | dict[str, str]  # a dict is {"$PARAMETER": name} before the run
    success_keys: ClassVar[tuple[str, ...]] = ("split", "max_share")

    def _find(self, frames: pd.DataFrame) -> Finding:
        labels = frames.loc[frames["split"] == self.split, "label"]
        counts = labels.value_counts(dropna=False)
        if counts.empty:
            return Finding(False, "no frames")
        assert isinstance(self.max_share, float | int)
        share = counts.iloc[0] / counts.sum()
        observed = f"{share:.1%} {counts.index[0]} ({', '.join(f'{label} {n}' for label, n in counts.items())})"
        return Finding(bool(share <= self.max_share), observed)


class ExpectPackedFramesToHaveShape(ManifestExpectation):
    """Every frame's shard can be read, its row exists, and it is `height` x `width` of `dtype`."""

    height: int
    width: int
    dtype: str
    success_keys: ClassVar[tuple[str, ...]] = ("height", "width", "dtype")

    def _find(self, frames: pd.DataFrame) -> Finding:
        shape = (self.height, self.width)
        problems = shape_problems(
            list(frames["shard"]), list(frames["row"]), shard_source(), shape=shape, dtype=self.dtype
        )
        return _per_frame(frames, problems, f"{len(frames)} frames of {self.height} x {self.width} {self.dtype}")


class ExpectPackedPixelsToMatchTheirHash(ManifestExpectation):
    """Every frame's packed pixels have the SHA-256 that the manifest names in `pixels_sha256`."""

    def _find(self, frames: pd.DataFrame) -> Finding:
        shards, rows, named = list(frames["shard"]), list(frames["row"]), list(frames["pixels_sha256"])
        problems = hash_problems(shards, rows, named, shard_source())
        return _per_frame(frames, problems, f"{len(frames)} frames read and equal")


def _per_frame(frames: pd.DataFrame, problems: Sequence[str], fine: str) -> Finding:
    bad = [(str(key), why) for key, why in zip(frames["key"], problems, strict=True) if why]
    if not bad:
        return Finding(True, fine)
    reasons = Counter(why for _, why in bad).most_common(3)
    told = "; ".join(f"{n} {'frame' if n == 1 else 'frames'}: {why}" for why, n in reasons)
    return Finding(False, told, bad)


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
