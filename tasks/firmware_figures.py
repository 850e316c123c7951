"""Firmware images as people read them: shared by the page, the short summary and the table of a run. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.arena import STEP
from tasks.boards import BOARDS
from tasks.firmware_records import FirmwareImage
from tasks.report_figures import number, percent, size


@dataclass(frozen=True)
class BoardRow:
    """One image in a line. Shares are percent of the budget, 0..100; arena figures are bytes."""

    board: str
    title: str
    passed: bool
    state: str  # proven, refused, or not run
    engine: str
    bound: str
    host_own: str
    host_smallest: str
    target_own: str
    measured: str
    reserved: str
    over_bound: str
    flash: str
    flash_budget: str
    flash_share: float
    flash_fits: bool
    ram: str
    ram_budget: str
    ram_share: float
    ram_fits: bool
    stack: str
    timed: bool
    median: str
    most: str
    seconds: str
    clock: str
    time: str  # the estimated one, and at which clock
    compared: str
    different: str
    same: bool


def state(image: FirmwareImage) -> str:
    """What became of an image in a word."""
    if not image.passed:
        return "refused"
    return "proven" if image.outcome else "not run"


def board_row(image: FirmwareImage) -> BoardRow:
    """One image in a line; figures that nobody measured are dashes."""
    board, arena, sizes, timing, outcome = BOARDS.get(image.board), image.arena, image.size, image.timing, image.outcome
    return BoardRow(
        board=image.board,
        title=board.title if board else "",
        passed=image.passed,
        state=state(image),
        engine=f"{image.contains.revision}, {image.contains.kernels} kernels" if image.contains else image.engine,
        bound=number(arena.lower_bound),
        host_own=number(arena.host.used),
        host_smallest=number(arena.host.smallest),
        target_own=number(arena.target.used) if arena.target else "–",
        measured=number(arena.target.smallest) if arena.target else "–",
        reserved=number(arena.reserved),
        over_bound=f"x {arena.reserved / arena.lower_bound:.2f}" if arena.lower_bound else "–",
        flash=size(sizes.flash_used),
        flash_budget=size(sizes.flash_budget),
        flash_share=_share(sizes.flash_used, sizes.flash_budget),
        flash_fits=sizes.flash_used <= sizes.flash_budget,
        ram=size(sizes.ram_used),
        ram_budget=size(sizes.ram_budget),
        ram_share=_share(sizes.ram_used, sizes.ram_budget),
        ram_fits=sizes.ram_used <= sizes.ram_budget,
        stack=size(image.stack_bytes) if outcome else "–",
        timed=timing is not None,
        median=_millions(timing.median) if timing else "–",
        most=_millions(timing.most) if timing else "–",
        seconds=_seconds(timing.seconds) if timing else "–",
        clock=_megahertz(timing.clock_hz) if timing else "–",
        time=f"{_seconds(timing.seconds)} at {_megahertz(timing.clock_hz)}" if timing else "–",
        compared=number(outcome.frames) if outcome else "–",
        different=""
        if not outcome
        else f"{len(outcome.mismatches):,} differ"
        if outcome.mismatches
        else "all the same",
        same=not outcome or not outcome.mismatches,
    )


def _share(used: int, budget: int) -> float:
    return min(100.0, 100 * used / budget) if budget else 100.0


def _millions(value: int) -> str:
    return f"{value / 1e6:,.2f} M"


def _megahertz(value: int) -> str:
    return f"{value / 1e6:g} MHz"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def golden_sentences(image: FirmwareImage) -> list[str]:
    """Which frames were compared, and with what."""
    outcome = image.outcome
    if not outcome:
        return ["Nothing emulates this board: no golden frame was run, and whether its bytes are right is not known."]
    kinds = ", ".join(f"{count} {kind}" for kind, count in outcome.kinds.items())
    with_host = _compared(outcome.host, outcome.compared_with_host, outcome.frames)
    with_reference = (
        f"and with {_compared(outcome.reference, outcome.compared_with_reference, outcome.frames)}"
        if outcome.compared_with_reference
        else f"and with no reference kernels ({outcome.reference})"
    )
    return [
        f"{number(outcome.frames)} golden frames: {kinds}.",
        f"Every output byte was compared with {with_host} {with_reference}.",
    ]


def _compared(what: str, compared: int, frames: int) -> str:
    return what if compared == frames else f"{what} on {number(compared)} of them"


def difference(image: FirmwareImage) -> str:
    """Where the image and the host part, in a sentence; "" where they do not."""
    outcome = image.outcome
    if not outcome or not outcome.mismatches:
        return ""
    wrong, frames = len(outcome.mismatches), outcome.frames
    return (
        f"{number(wrong)} of {number(frames)} golden frames {'gives' if wrong == 1 else 'give'} other bytes on "
        f"{image.board} than on the host. The first differing layer is {outcome.first_layer or 'unknown'}."
    )


def arena_sentence(image: FirmwareImage) -> str:
    """What the firmware reserves, and how that figure came about."""
    arena = image.arena
    if not arena.target:
        return (
            f"The firmware reserves {number(arena.reserved)} B: what the host takes, and room for what nobody could "
            "measure on the target."
        )
    if arena.target.smallest != arena.reserved:
        return (
            f"The firmware reserves {number(arena.reserved)} B; the smallest arena that works on the target was "
            f"measured as {number(arena.target.smallest)} B."
        )
    return (
        f"The firmware reserves {number(arena.reserved)} B, the smallest arena that works on the target, found by "
        f"bisection to {STEP} B."
    )


def firmware_cards(image: FirmwareImage) -> list[dict[str, str]]:
    """The figures of an image that decide whether it fits a device."""
    row, arena, sizes = board_row(image), image.arena, image.size
    cards = [
        ("tensor arena", size(arena.reserved), f"{row.over_bound.replace('x ', '')} times its lower bound"),
        ("flash", row.flash, f"{percent(sizes.flash_used / sizes.flash_budget)} of its budget"),
        ("RAM with stack", row.ram, f"{percent(sizes.ram_used / sizes.ram_budget)} of its budget"),
    ]
    if image.timing:
        cards.append(("an inference", row.seconds, f"estimated at {row.clock}, {row.most} instructions"))
    return [{"name": name, "figure": figure, "note": note} for name, figure, note in cards]


def image_parameters(image: FirmwareImage) -> dict[str, str]:
    """Threshold, hysteresis and limits as they were set; a limit of 0 is the board's own."""
    limits = {
        name: number(value) if value else "0 (the board's own)" for name, value in image.limits.model_dump().items()
    }
    return {"threshold": f"{image.threshold:g}", **{k: f"{v:g}" for k, v in image.hysteresis}, **limits}


def firmware_table(images: Sequence[FirmwareImage]) -> list[dict[str, str]]:
    """One row a board, for a table artifact or a terminal."""
    return [
        {
            "board": row.board,
            "image": row.state,
            "engine": row.engine,
            "arena: lower bound": row.bound,
            "TFLM's own (host)": row.host_own,
            "smallest (host)": row.host_smallest,
            "TFLM's own (target)": row.target_own,
            "smallest (target)": row.measured,
            "reserved": row.reserved,
            "flash": f"{row.flash} of {row.flash_budget}",
            "RAM": f"{row.ram} of {row.ram_budget}",
            "stack": row.stack,
            "instructions (median)": row.median,
            "instructions (most)": row.most,
            "estimated time": row.time,
            "golden frames": row.compared,
            "their bytes": row.different,
        }
        for row in map(board_row, images)
    ]


def firmware_markdown(images: Sequence[FirmwareImage]) -> list[str]:
    """A Markdown table, one row a board, with what decides; narrow, since the page that shows it is."""
    lines = [
        "| | board | arena (bound) | flash | RAM | inference | golden frames |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    rows = [board_row(image) for image in images]
    for row in rows:
        golden = f"{row.compared}, {row.different}" if row.different else row.compared
        lines.append(
            f"| {row.state if row.passed else f'**{row.state}**'} | {row.board} | {row.reserved} ({row.bound}) | "
            f"{_of_budget(row.flash, row.flash_share, fits=row.flash_fits)} | "
            f"{_of_budget(row.ram, row.ram_share, fits=row.ram_fits)} | "
            f"{row.seconds} | {golden if row.same else f'**{golden}**'} |"
        )
    clocks = [f"{row.most} instructions on {row.board} at {row.clock}" for row in rows if row.timed]
    boards: dict[str, list[str]] = {}
    for row in rows:
        boards.setdefault(row.engine, []).append(row.board)
    engines = [f"{engine} ({', '.join(names)})" if len(boards) > 1 else engine for engine, names in boards.items()]
    notes = ["Arenas in bytes, bound: what no arena can be below; percent of the budget."]
    notes += [f"Estimated: {', '.join(clocks)}."] if clocks else []
    return [*lines, "", " ".join([*notes, f"Engine: {'; '.join(engines)}."])]


def _of_budget(used: str, share: float, *, fits: bool) -> str:
    return f"{used} ({share:.0f} %)" if fits else f"**{used}, above its budget**"
