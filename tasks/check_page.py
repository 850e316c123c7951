"""The page about a data set's checks: what was found, pictures of the worst frames, and what to do. Self-contained."""

from collections.abc import Sequence

import numpy as np

from tasks.checked_frames import CheckedFrames
from tasks.findings import CheckResult
from tasks.report import environment
from tasks.thumbnails import data_uri

PICTURES = 12  # findings of a check that are shown with their pictures


def check_page(name: str, results: Sequence[CheckResult], frames: CheckedFrames) -> str:
    """The page as HTML. `name`: the data set or folder, as people call it. Pictures of about 5 KB each are in it."""
    at = {key: number for number, key in enumerate(frames.column("key"))}

    def picture(key: str) -> str:
        number = at.get(key)
        return data_uri(frames.gather(np.array([number]))[0]) if number is not None else ""

    shown = [
        {
            "result": result,
            "worst": [
                {"finding": one, "picture": picture(one.file), "other": picture(one.other)}
                for one in result.findings[:PICTURES]
            ],
        }
        for result in sorted(results, key=_order)
    ]
    blocking = sum(result.blocks for result in results)
    return environment().get_template("checks.html.j2").render(
        title=f"{name}: {blocking} blocking" if blocking else f"{name}: nothing blocks",
        name=name,
        frames=len(frames),
        blocking=blocking,
        warnings=sum(bool(result.findings) and not result.blocks for result in results),
        checks=shown,
    )  # fmt: skip


def _order(result: CheckResult) -> tuple[bool, bool]:
    return not result.blocks, not result.findings
