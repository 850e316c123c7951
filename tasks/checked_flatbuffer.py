"""Flatbuffer records read with every offset and length checked, for files that nobody vouches for.

The generated accessors trust the file: a negative offset reads from the end of the buffer, a vector may claim 2 GiB.
This reader checks as it goes, as `flatbuffers::Verifier` does in C++.
"""

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.errors import PipelineError

MAX_RECORDS = 200_000  # tables in a file; phone-sized language models have some ten thousand operators
MAX_INDICES = 4_000_000  # shape and tensor numbers in a file, all together
_NEXT_STEP = "give a .tflite file (TensorFlow Lite flatbuffer, identifier TFL3) and check that it was copied whole"


class NotAModel(PipelineError):
    """The bytes are no TensorFlow Lite model: missing, truncated, damaged, or something else altogether."""

    def __init__(self, message: str, *, next_step: str = _NEXT_STEP) -> None:
        super().__init__(message, next_step=next_step)


@dataclass(frozen=True)
class Table:
    """Where a record and its field list lie."""

    pos: int
    length: int
    vtable: int
    vtable_length: int


@dataclass
class Reader:
    """Access to the records of `data`; every method raises `NotAModel` rather than read outside."""

    data: bytes
    records: int = 0
    indices: int = 0
    vector_bytes: int = 0
    _cache: dict[int, Table] = field(default_factory=dict)

    def number(self, code: str, pos: int) -> int:
        """The little-endian number of `struct` code `code` at byte `pos`."""
        size = struct.calcsize("<" + code)
        if pos < 0 or pos + size > len(self.data):
            raise NotAModel(f"an offset points to byte {pos} of a file of {len(self.data)}")
        if pos % size:
            raise NotAModel(f"a {size}-byte number lies at byte {pos}, which is not aligned")
        value: int = struct.unpack_from("<" + code, self.data, pos)[0]
        return value

    def table(self, pos: int) -> Table:
        """The record at byte `pos`."""
        self.records += 1
        if self.records > MAX_RECORDS:
            raise NotAModel(f"the file claims more than {MAX_RECORDS:,} records")
        if pos in self._cache:
            return self._cache[pos]
        vtable = pos - self.number("i", pos)
        vtable_length, length = self.number("H", vtable), self.number("H", vtable + 2)
        if vtable_length < 4 or vtable_length % 2 or vtable + vtable_length > len(self.data):
            raise NotAModel(f"the record at byte {pos} has a damaged field list")
        if length < 4 or pos + length > len(self.data):
            raise NotAModel(f"the record at byte {pos} runs past the end of the file")
        self._cache[pos] = Table(pos, length, vtable, vtable_length)
        return self._cache[pos]

    def _place(self, table: Table, slot: int, size: int) -> int | None:
        if slot + 2 > table.vtable_length:
            return None
        offset = self.number("H", table.vtable + slot)
        if not offset:
            return None
        if offset < 4 or offset + size > table.length:
            raise NotAModel(f"a field of the record at byte {table.pos} lies outside it")
        return table.pos + offset

    def scalar(self, table: Table, slot: int, code: str, default: int = 0) -> int:
        """A number field, `default` where it is absent."""
        place = self._place(table, slot, struct.calcsize("<" + code))
        return default if place is None else self.number(code, place)

    def target(self, table: Table, slot: int) -> int | None:
        """The byte that an offset field points to; None where it is absent."""
        place = self._place(table, slot, 4)
        return None if place is None else place + self.number("I", place)

    def vector(self, table: Table, slot: int, size: int) -> tuple[int, int]:
        """(position of the first element, count); (0, 0) where the field is absent."""
        start = self.target(table, slot)
        if start is None:
            return 0, 0
        count = self.number("I", start)
        self.vector_bytes += count * size
        if start + 4 + count * size > len(self.data):
            raise NotAModel(f"a list claims {count:,} elements of {size} bytes in a file of {len(self.data):,} bytes")
        if self.vector_bytes > 4 * len(self.data) + 65_536:
            raise NotAModel("the lists of the file overlap: together they are far larger than the file")
        if count and (start + 4) % size:
            raise NotAModel(f"a list of {size}-byte numbers lies at byte {start + 4}, which is not aligned")
        return start + 4, count

    def ints(self, table: Table, slot: int) -> tuple[int, ...]:
        """A list of int32."""
        start, count = self.vector(table, slot, 4)
        self.indices += count
        if self.indices > MAX_INDICES:
            raise NotAModel(f"the file claims more than {MAX_INDICES:,} shape and tensor numbers")
        return struct.unpack_from(f"<{count}i", self.data, start)

    def tables(self, table: Table, slot: int) -> list[Table]:
        """A list of records."""
        start, count = self.vector(table, slot, 4)
        if count > MAX_RECORDS:
            raise NotAModel(f"the file claims {count:,} records")
        return [self.table(place + self.number("I", place)) for place in range(start, start + 4 * count, 4)]

    def string(self, table: Table, slot: int) -> str:
        """Text, at most 4,096 bytes of it, with `?` for what is not printable."""
        start, count = self.vector(table, slot, 1)
        text = self.data[start : start + min(count, 4096)].decode("utf-8", "replace")
        return "".join(c if c.isprintable() else "?" for c in text)  # names reach terminals and reports

    def floats(self, table: Table, slot: int) -> NDArray[np.float32]:
        """A list of float32, shape (count,); a view of the file."""
        start, count = self.vector(table, slot, 4)
        return np.frombuffer(self.data, "<f4", count, start) if count else np.empty(0, np.float32)

    def longs(self, table: Table, slot: int) -> NDArray[np.int64]:
        """A list of int64, shape (count,); a view of the file."""
        start, count = self.vector(table, slot, 8)
        return np.frombuffer(self.data, "<i8", count, start) if count else np.empty(0, np.int64)
