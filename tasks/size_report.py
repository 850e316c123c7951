"""Where every byte of flash and RAM goes, from the map that LLD writes while it links (`-Map=`).

Sizes come from the output sections, names from the input sections below them. Fat LTO puts all Rust crates into one
object, so a crate is told by its symbols' mangled names, which are the names of its input sections; C and C++ by their
object files. What no input section accounts for is padding, and more of it than alignment asks for is an error.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.boards import Board, Memory
from tasks.errors import PipelineError

Kind = Literal["flash", "ram", "both"]  # both: .data, whose first values lie in flash and are copied into RAM
Group = Literal[
    "weights", "arena", "stack", "tflm kernels", "nn library", "tflm core", "rust", "c library", "compiler runtime",
    "vectors", "strings", "padding", "other",
]  # fmt: skip


class MapUnreadable(PipelineError):
    """A linker map that is no LLD map, is incomplete, contradicts itself or belongs to another board."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Section(_Frozen):
    """An output section that takes memory on the device. `memory` is the region of `address`, where it is used."""

    name: str
    address: int
    load_address: int  # where its bytes lie in flash; the same as `address` for all but .data
    size: int
    memory: str
    kind: Kind


class Region(_Frozen):
    """A memory of the board. `used` includes the padding between sections, and the stack in the first RAM."""

    name: str
    kind: Literal["flash", "ram"]
    used: int
    size: int


class Contributor(_Frozen):
    """A crate, an object file of C or C++, or something with a section of its own, and its bytes."""

    name: str
    group: Group
    flash: int
    ram: int


class SizeReport(_Frozen):
    """All bytes of an image, twice: by section and region, and by contributor (largest first). The sums are equal."""

    sections: tuple[Section, ...]
    regions: tuple[Region, ...]
    contributors: tuple[Contributor, ...]
    flash_used: int
    flash_budget: int
    ram_used: int
    ram_budget: int


@dataclass
class _Piece:
    """An input section, or bytes that the linker script itself puts."""

    text: str
    address: int
    size: int
    align: int


@dataclass
class _Output:
    """An output section of the map."""

    name: str
    address: int
    load: int
    size: int
    align: int
    pieces: list[_Piece] = field(default_factory=list)


def size_report(map_text: str, board: Board, *, stack_bytes: int = 0) -> SizeReport:
    """Sizes of an image of `board`; `stack_bytes` is what the stack was measured or is allowed to take.

    Raises `MapUnreadable`, also where a section lies outside the board's memories.
    """
    bytes_of: dict[str, Counter[tuple[str, Group]]] = {"flash": Counter(), "ram": Counter()}
    spans: dict[str, list[_Output]] = {memory.name: [] for memory in board.memories}
    sections = []
    for one in _allocated(_outputs(map_text), board):
        memory = _memory(board, one, one.address)
        # A linker script may give .bss a load address too, and it takes no flash all the same.
        load = memory if one.name.startswith(_NO_BITS) else _memory(board, one, one.load)
        copied = memory.kind == "ram" and load.kind == "flash"
        kind: Kind = "both" if copied else "flash" if memory.kind == "flash" else "ram"
        sections.append(
            Section(
                name=one.name, address=one.address, load_address=one.load, size=one.size, memory=memory.name, kind=kind
            )
        )
        spans[memory.name].append(one)
        if copied:
            spans[load.name].append(_Output(one.name, one.load, one.load, one.size, one.align))
        owned = _contributions(one)
        for part in ("flash", "ram") if copied else (kind,):
            bytes_of[part].update(owned)
    regions = []
    first_ram = next(memory for memory in board.memories if memory.kind == "ram")
    for memory in board.memories:
        between = _between(spans[memory.name])
        bytes_of[memory.kind]["padding", "padding"] += between
        used = between + sum(span.size for span in spans[memory.name]) + (stack_bytes if memory is first_ram else 0)
        regions.append(
            Region(name=memory.name, kind="flash" if memory.kind == "flash" else "ram", used=used, size=memory.size)
        )
    bytes_of["ram"]["stack", "stack"] += stack_bytes
    return SizeReport(
        sections=tuple(sections),
        regions=tuple(regions),
        contributors=tuple(_largest_first(bytes_of["flash"], bytes_of["ram"])),
        flash_used=sum(region.used for region in regions if region.kind == "flash"),
        flash_budget=board.flash_bytes,
        ram_used=sum(region.used for region in regions if region.kind == "ram"),
        ram_budget=board.ram_bytes,
    )


def over_budget(report: SizeReport) -> list[str]:
    """A sentence for each budget and each memory that the image exceeds, with the three biggest contributors."""
    limits = [
        ("flash", "the flash budget", report.flash_used, report.flash_budget),
        ("ram", "the RAM budget", report.ram_used, report.ram_budget),
    ]
    limits += [(region.kind, f"the memory {region.name}", region.used, region.size) for region in report.regions]
    sentences: dict[tuple[str, int, int], str] = {}
    for kind, what, used, limit in limits:
        if used > limit:
            biggest = sorted(report.contributors, key=lambda one: (-getattr(one, kind), one.name))[:3]
            named = ", ".join(f"{one.name} ({getattr(one, kind):,} B)" for one in biggest if getattr(one, kind))
            # The only memory of its kind without a tighter budget says the same twice: the first stays.
            sentences.setdefault(
                (kind, used, limit),
                f"the image takes {used:,} B of {what} of {limit:,} B, {used - limit:,} B too many; "
                f"the biggest contributors are {named}",
            )
    return list(sentences.values())


def _largest_first(flash: "Counter[tuple[str, Group]]", ram: "Counter[tuple[str, Group]]") -> list[Contributor]:
    found = [
        Contributor(name=key[0], group=key[1], flash=flash[key], ram=ram[key])
        for key in flash.keys() | ram.keys()
        if flash[key] or ram[key]
    ]
    return sorted(found, key=lambda one: (-one.flash - one.ram, one.name))


# --- the map

_HEADER = ["VMA", "LMA", "Size", "Align", "Out", "In", "Symbol"]
_LINE = re.compile(r" *([0-9a-f]+) +([0-9a-f]+) +([0-9a-f]+) +(\d+)(?: ( *)(.*))?$")  # names may hold any character
_STATEMENT = re.compile(r"[=(]")  # an assignment or PROVIDE(...) where a name could be
_NOT_LOADED = re.compile(r"\.(debug|comment$|ARM\.attributes$|symtab|strtab$|shstrtab$)")
_NO_BITS = (".bss", ".uninit", ".noinit", ".tensor_arena")
_AGAIN = "build the image again; the map is written by the linker and must be used as it is"


def _outputs(text: str) -> list[_Output]:
    """All output sections, those without memory too."""
    lines = text.splitlines()
    if not lines or lines[0].split() != _HEADER:
        if "Memory Configuration" in text or "Linker script and memory map" in text:
            raise MapUnreadable(
                "this linker map is GNU ld's, and only LLD's are read: sections and crates are laid out differently",
                next_step="link with rust-lld, or look at the image's sections with `size -A`",
            )
        raise MapUnreadable(f"this is no linker map: it starts with {text[:40]!r}", next_step=_AGAIN)
    outputs: list[_Output] = []
    for count, line in enumerate(lines[1:], 2):
        found = _LINE.match(line)
        if not found:
            raise MapUnreadable(f"line {count} of the linker map is none of LLD's: {line[:60]!r}", next_step=_AGAIN)
        address, load, size = (int(found[i], 16) for i in (1, 2, 3))
        align, depth, what = int(found[4]), len(found[5] or ""), found[6] or ""
        if depth == 0 and what and not _STATEMENT.search(what):
            outputs.append(_Output(what, address, load, size, align))
        elif depth == 8:  # deeper: symbols, which are parts of input sections
            if not outputs:
                raise MapUnreadable(f"line {count} of the linker map is below no section", next_step=_AGAIN)
            outputs[-1].pieces.append(_Piece(what, address, size, align))
    if not any(output.name == ".shstrtab" for output in outputs):  # after everything on the device, even if stripped
        raise MapUnreadable(f"the linker map ends early, after {len(lines)} lines", next_step=_AGAIN)
    return outputs


def _allocated(outputs: Sequence[_Output], board: Board) -> Iterator[_Output]:
    """Those on the device. The others have address 0, which may be the start of the flash as well."""
    free = any(memory.start == 0 for memory in board.memories)
    for output in outputs:
        if not output.size:
            _contributions(output)  # raises where something is below it all the same: a line was lost
        elif not _NOT_LOADED.match(output.name) and (output.address or free):
            free = free and output.address != 0
            yield output


def _memory(board: Board, output: _Output, address: int) -> Memory:
    for memory in board.memories:
        if memory.start <= address < memory.start + memory.size:
            return memory
    raise MapUnreadable(
        f"section {output.name} lies at {address:#x}, and board {board.name} has no memory there",
        next_step=f"its memories are {', '.join(f'{m.name} at {m.start:#x}' for m in board.memories)}: is it its map?",
    )


def _between(spans: list[_Output]) -> int:
    """Padding between the sections of one memory. A hole wider than alignment is nobody's, and free."""
    padding = 0
    for one, two in pairwise(sorted(spans, key=lambda span: span.address)):
        gap = two.address - one.address - one.size
        if gap < 0:
            raise MapUnreadable(f"sections {one.name} and {two.name} overlap in the linker map", next_step=_AGAIN)
        padding += gap if gap < two.align else 0
    return padding


def _contributions(output: _Output) -> "Counter[tuple[str, Group]]":
    """Every byte of the section by owner."""
    owned: Counter[tuple[str, Group]] = Counter()
    at, end = output.address, output.address + output.size
    for piece in [*output.pieces, _Piece("", end, 0, output.align)]:
        gap = piece.address - at
        if gap < 0 or gap >= piece.align or piece.address > end:
            wrong = f"{gap} bytes belong to nobody" if gap > 0 else "pieces overlap or stick out"
            raise MapUnreadable(
                f"section {output.name} does not add up in the linker map at {at:#x}: {wrong}", next_step=_AGAIN
            )
        owned["padding", "padding"] += gap
        owned[_owner(piece.text, output.name)] += piece.size
        at = piece.address + piece.size
    return owned


# --- owners

_SECTIONS: dict[str, tuple[str, Group]] = {
    ".model": ("model weights", "weights"),
    ".tensor_arena": ("tensor arena", "arena"),
    ".vector_table": ("vector table", "vectors"),
}
_LINKER: tuple[str, Group] = ("linker", "other")
_INPUT = re.compile(r"(?:.*/)?([^/]+?)(?:\(([^()]+)\))?:\((.*)\)$")  # archive(object):(section), or object:(section)
_C_LIBRARY = re.compile(r"lib[cm]?_a-(.+)\.o$")  # newlib's objects: lib_a-strcmp.o, later libc_a-strcmp.o
_TFLM_CORE = re.compile(
    r"micro_(?!tensor_utils)\w+|\w+_memory_planner|\w+_buffer_planner_shim|\w+_(?:buffer|memory)_allocator|memory_helpers"
    r"|flatbuffer_\w+|error_reporter|op_resolver|schema_utils|tensor_utils|common|system_setup"
)
# Symbols that are not mangled, and whose they are.
_EXPORTED = (
    (re.compile(r"\.(?:Reset|HardFaultTrampoline|(?:.*\.)?Default(?:Handler_|PreInit))$"), "cortex_m_rt"),
    (re.compile(r".*\.tflm_\w+$"), "tflm"),  # what the shim calls back
)
_NAMELESS = re.compile(r"\.(?:text|rodata|data|bss)(?:\.rel\.ro)?(?:\.(?:str|cst).*|\..?Lanon\..*)?$")
_LEGACY = re.compile(r"_ZN(\d+)(.*)")
# Version 0: prefixes of a path up to the first crate, which for an impl is the crate that it stands in.
# https://doc.rust-lang.org/rustc/symbol-mangling/v0.html
_V0 = re.compile(
    r"_R\d*(?:N[A-Za-z]|[MX](?:s[0-9a-zA-Z]*_)?+|[YIQRPOSATFD]|L[0-9a-zA-Z]*_|[a-z])*?C(?:s[0-9a-zA-Z]*_)?(\d+)_?(.*)"
)
_STANDARD = ("core", "alloc", "std", "compiler_builtins")


def _owner(piece: str, section: str) -> tuple[str, Group]:
    """Contributor and group of an input section that went into the output section `section`."""
    found = _INPUT.match(piece)
    if not found and (not piece or "=" in piece):  # `. = ALIGN(64)` leaves room
        return "padding", "padding"
    if section in _SECTIONS:
        return _SECTIONS[section]
    if not found:  # LONG(...) puts bytes
        return "linker script", "other"
    archive, member, source = found.groups(default="")
    name = member or archive
    if name == "<internal>":  # what the linker has merged has no object any more
        merged = re.match(r"\.rodata\..*?(str|cst)\d", source)
        return ({"str": "merged strings", "cst": "merged constants"}[merged[1]], "strings") if merged else _LINKER
    if name.endswith(".rcgu.o"):
        crate = _crate(source, name.partition("-")[0])
        group: Group = "compiler runtime" if crate == "compiler_builtins" else "rust"
        return f"crate {crate}" if crate else "Rust literals", group
    if compiled := re.match(r"[0-9a-f]{16}-(.+)\.o$", name):  # by the crate cc; in front is a hash of the folder
        return _compiled(compiled[1], source)
    if library := _C_LIBRARY.match(name):
        return f"newlib {library[1]}", "c library"
    if name.startswith("_") or archive == "libgcc.a":
        return f"libgcc {name.removesuffix('.o').lstrip('_')}", "compiler runtime"
    return name.removesuffix(".o"), "other"


def _compiled(stem: str, source: str) -> tuple[str, Group]:
    """Owner of what `firmware/tflm-sys` compiles."""
    if stem == "tflm_shim":
        return "TFLM shim", "tflm core"
    for prefix, library in (("arm_", "CMSIS-NN"), ("esp_nn_", "ESP-NN")):
        if stem.startswith(prefix):
            return f"{library} {stem}", "nn library"
    # There are two common.o: the C interface, and the kernels' arithmetic in a namespace.
    if _TFLM_CORE.fullmatch(stem) and not (stem == "common" and "_ZN6tflite" in source):
        return f"TFLM core {stem}", "tflm core"
    return f"TFLM kernel {stem.removesuffix('_common')}", "tflm kernels"


def _crate(source: str, of_object: str) -> str:
    """The crate that an input section belongs to; "" for literals, whose names tell nothing once crates are merged."""
    if of_object in _STANDARD:
        return of_object
    if _NAMELESS.match(source):
        return ""
    for pattern, crate in _EXPORTED:
        if pattern.match(source):
            return crate
    if found := _V0.search(source):
        crate = found[2][: int(found[1])]
        return of_object if crate == "__rustc" else crate  # the panic handler
    if found := _LEGACY.search(source):
        first = found[2][: int(found[1])]
        if not first.startswith("_$"):
            return first
        # `<type as trait>::method`: stands in the type's crate or the trait's, and in core only if both are core's.
        plain = re.sub(r"\$(\w+)\$", " ", first.replace("$u20$", " ").replace("..", "::"))
        named = re.findall(r"(?<![\w:])([a-z_]\w*)::", plain.replace("$", " "))
        return next((one for one in named if one not in _STANDARD), named[0] if named else of_object)
    return of_object
