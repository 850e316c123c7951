"""All that the report page shows of one firmware image. Pure; where objects can be opened is asked of a function."""

from collections.abc import Callable
from dataclasses import dataclass

from tasks import firmware_figures as figures
from tasks.firmware_figures import BoardRow
from tasks.firmware_records import FirmwareImage
from tasks.report_figures import RuleRow, duration, number, rule_row
from tasks.size_report import Contributor

CONTRIBUTORS = 15  # in the table of a board; size.json has all
NAMED = 20  # frames that differ; more tell nothing new
_FILES = {
    "firmware.elf": "the image, with symbols",
    "firmware.bin": "raw bytes of the first flash memory",
    "firmware.map": "linker map",
    "transcript.txt": "what the image said in the emulator",
    "golden-frames.npy": "pixels, uint8 (frames, 120, 160)",
    "golden-outputs.npy": "output bytes of the image, a row a frame",
    "golden-names.json": "name and kind of each golden frame",
    "size.json": "size report: sections, memories, all contributors",
    "contract.json": "what the firmware was told of the model",
    "model.tflite": "the model inside",
    "build.log": "what cargo said",
}


@dataclass(frozen=True)
class StoredFile:
    """A file of an image. `url` None: nobody serves it."""

    name: str
    what: str
    sha256: str
    key: str
    url: str | None


@dataclass(frozen=True)
class BoardView:
    """Everything that the page shows of one image."""

    row: BoardRow
    rules: list[RuleRow]
    golden: list[str]  # sentences
    difference: str  # "" where all golden frames give the same bytes
    different: list[str]  # their names, at most NAMED, and how many more there are
    arena: str
    said: str  # by the target with one step less
    picture: str  # <svg>
    contributors: list[Contributor]
    others: str
    facts: dict[str, str]
    files: list[StoredFile]
    folder: str


def board_view(image: FirmwareImage, url: Callable[[str], str | None]) -> BoardView:
    """Everything that the page shows of one image; `url(key)` says where people can open an object."""
    from tasks.size_plot import memory_bars

    contributors = list(image.size.contributors)
    rest = contributors[CONTRIBUTORS:]
    others = (
        f"and {number(len(rest))} more with {number(sum(one.flash for one in rest))} B of flash and "
        f"{number(sum(one.ram for one in rest))} B of RAM"
    )
    known = [name for name in _FILES if name in image.files]
    return BoardView(
        row=figures.board_row(image),
        rules=[rule_row(rule) for rule in image.rules],
        golden=figures.golden_sentences(image),
        difference=figures.difference(image),
        different=_different(image),
        arena=figures.arena_sentence(image),
        said=image.arena.one_step_less,
        picture=memory_bars(image.size, f"memory-{image.board}"),
        contributors=contributors[:CONTRIBUTORS],
        others=others if rest else "",
        facts=_facts(image),
        files=[
            StoredFile(name, _FILES.get(name, ""), image.files[name], image.folder + name, url(image.folder + name))
            for name in (*known, *sorted(set(image.files) - set(known)))
        ],
        folder=image.folder,
    )


def _facts(image: FirmwareImage) -> dict[str, str]:
    """What the image was made of."""
    facts = {"engine": image.engine}
    if image.contains:
        facts |= {
            "TFLM inside": f"{image.contains.revision}, {image.contains.kernels} kernels",
            "sources": image.contains.sources_sha256,
        }
    facts |= image.toolchain
    if image.timing:
        facts["feeding"] = f"{number(image.timing.feed)} instructions from camera bytes to the network's input"
    return facts | {"code version": image.code_version, "built and run in": duration(image.seconds)}


def _different(image: FirmwareImage) -> list[str]:
    names = image.outcome.mismatches if image.outcome else ()
    more = len(names) - NAMED
    return [*names[:NAMED], *([f"and {number(more)} more"] if more > 0 else [])]
