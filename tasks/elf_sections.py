"""What an ELF image takes of its board's memories, section by section, where no linker map says who contributed."""

import struct

from tasks.boards import Board
from tasks.size_report import Contributor, Region, Section, SizeReport

_ALLOCATED, _NO_BITS, _WRITABLE = 2, 8, 1  # SHF_ALLOC, SHT_NOBITS, SHF_WRITE


def elf_size_report(elf: bytes, board: Board) -> SizeReport:
    """The sizes of an image by its section headers (32-bit little-endian ELF, System V gABI chapter 4).

    A section in flash counts there; one in RAM counts there, and in flash too where it has contents to copy. Raises
    `ValueError` for anything that is no such file.
    """
    if elf[:6] != b"\x7fELF\x01\x01":
        raise ValueError("no 32-bit little-endian ELF")
    (table,) = struct.unpack_from("<I", elf, 0x20)
    size, count, names_at = struct.unpack_from("<HHH", elf, 0x2E)
    headers = [struct.unpack_from("<10I", elf, table + i * size) for i in range(count)]
    names = elf[headers[names_at][4] :]
    sections: list[Section] = []
    contributors: list[Contributor] = []
    used = {memory.name: 0 for memory in board.memories}
    for name_at, kind, flags, address, _, length, *_ in headers:
        if not flags & _ALLOCATED or not length:
            continue
        name = names[name_at : names.index(b"\0", name_at)].decode()
        memory = next((m for m in board.memories if m.start <= address < m.start + m.size), None)
        region, where = (memory.name, memory.kind) if memory else ("", "ram" if flags & _WRITABLE else "flash")
        copied = where == "ram" and kind != _NO_BITS
        if region:
            used[region] += length
        sections.append(
            Section(
                name=name,
                address=address,
                load_address=address,
                size=length,
                memory=region,
                kind="both" if copied else "ram" if where == "ram" else "flash",
            )
        )
        flash, ram = (length if where == "flash" or copied else 0), (length if where == "ram" else 0)
        contributors.append(Contributor(name=name, group="other", flash=flash, ram=ram))
    contributors.sort(key=lambda c: (-(c.flash + c.ram), c.name))
    return SizeReport(
        sections=tuple(sections),
        regions=tuple(
            Region(name=m.name, kind="ram" if m.kind == "ram" else "flash", used=used[m.name], size=m.size)
            for m in board.memories
        ),
        contributors=tuple(contributors),
        flash_used=sum(c.flash for c in contributors),
        flash_budget=board.flash_bytes,
        ram_used=sum(c.ram for c in contributors),
        ram_budget=board.ram_bytes,
    )
