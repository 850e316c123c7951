//! Flatbuffer records, every offset and length checked before it is followed.

use super::error::{ModelError, ModelErrorKind as Kind};

/// A file of untrusted bytes. No method reads outside it, and none panics.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    data: &'a [u8],
}

/// A record that lies inside the file, with its list of fields.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub at: usize,
    length: usize,
    vtable: usize,
    vtable_length: usize,
}

/// A list that lies inside the file: where its first element is, and how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vector {
    pub start: usize,
    pub count: usize,
}

impl Vector {
    pub const EMPTY: Self = Self { start: 0, count: 0 };
}

impl<'a> Reader<'a> {
    pub const fn new(data: &'a [u8]) -> Self {
        Self { data }
    }

    pub const fn u8_at(self, at: usize) -> Result<u8, ModelError> {
        ok!(self.readable(at, 1));
        Ok(self.byte(at))
    }

    const fn u16_at(self, at: usize) -> Result<u16, ModelError> {
        ok!(self.readable(at, 2));
        Ok(u16::from_le_bytes([self.byte(at), self.byte(at + 1)]))
    }

    pub const fn u32_at(self, at: usize) -> Result<u32, ModelError> {
        ok!(self.readable(at, 4));
        Ok(u32::from_le_bytes([self.byte(at), self.byte(at + 1), self.byte(at + 2), self.byte(at + 3)]))
    }

    const fn u64_at(self, at: usize) -> Result<u64, ModelError> {
        ok!(self.readable(at, 8));
        Ok(ok!(self.u32_at(at)) as u64 | (ok!(self.u32_at(at + 4)) as u64) << 32)
    }

    /// Ok where a number of `size` bytes can be read at byte `at`.
    const fn readable(self, at: usize, size: usize) -> Result<(), ModelError> {
        if !self.holds(at, size) {
            return Err(Kind::OutOfBounds.at(at));
        }
        if !at.is_multiple_of(size) { Err(Kind::Misaligned.at(at)) } else { Ok(()) }
    }

    /// A byte that was found to be readable; 0 outside the file.
    #[expect(clippy::indexing_slicing, reason = "in range; and slices of slices cost the compiler twice the time")]
    const fn byte(self, at: usize) -> u8 {
        if at < self.data.len() { self.data[at] } else { 0 }
    }

    /// Element `index` of a list of int32.
    pub const fn i32_in(self, list: Vector, index: usize) -> Result<i32, ModelError> {
        Ok(ok!(self.u32_at(list.start.saturating_add(index.saturating_mul(4)))) as i32)
    }

    /// The elements of a list, `SIZE` bytes each. Going over them this way costs the compiler, where it is the compiler
    /// that runs this, a tenth of what reading them one by one does: models have ten thousand scales.
    pub const fn elements<const SIZE: usize>(self, list: Vector) -> Result<&'a [[u8; SIZE]], ModelError> {
        if let Some((_, rest)) = self.data.split_at_checked(list.start)
            && let Some((bytes, _)) = rest.split_at_checked(list.count.saturating_mul(SIZE))
        {
            return Ok(bytes.as_chunks().0);
        }
        Err(Kind::OutOfBounds.at(list.start))
    }

    /// Whether bytes `at..at + size` lie inside the file.
    const fn holds(self, at: usize, size: usize) -> bool {
        at <= self.data.len() && size <= self.data.len() - at
    }

    /// Where the offset at byte `at` leads.
    pub const fn follow(self, at: usize) -> Result<usize, ModelError> {
        match at.checked_add(ok!(self.u32_at(at)) as usize) {
            Some(target) if target <= self.data.len() => Ok(target),
            _ => Err(Kind::OutOfBounds.at(at)),
        }
    }

    /// The record at byte `at`.
    pub const fn table(self, at: usize) -> Result<Table, ModelError> {
        let back = ok!(self.u32_at(at)) as i32;
        let vtable = at as i64 - back as i64;
        if vtable < 0 || vtable > self.data.len() as i64 {
            return Err(Kind::OutOfBounds.at(at));
        }
        let vtable = vtable as usize;
        let vtable_length = ok!(self.u16_at(vtable)) as usize;
        let length = ok!(self.u16_at(vtable.saturating_add(2))) as usize;
        if vtable_length < 4 || !vtable_length.is_multiple_of(2) || length < 4 {
            return Err(Kind::DamagedTable.at(at));
        }
        if !self.holds(vtable, vtable_length) || !self.holds(at, length) {
            return Err(Kind::OutOfBounds.at(at));
        }
        Ok(Table { at, length, vtable, vtable_length })
    }

    /// Where the field of `size` bytes in `slot` lies; None where it is absent.
    pub const fn field(self, table: Table, slot: usize, size: usize) -> Result<Option<usize>, ModelError> {
        if slot + 2 > table.vtable_length {
            return Ok(None);
        }
        let offset = ok!(self.u16_at(table.vtable.saturating_add(slot))) as usize;
        if offset == 0 {
            return Ok(None);
        }
        if offset < 4 || offset + size > table.length {
            return Err(Kind::FieldOutsideTable.at(table.at));
        }
        Ok(Some(table.at.saturating_add(offset)))
    }

    pub const fn u8_field(self, table: Table, slot: usize) -> Result<u8, ModelError> {
        match ok!(self.field(table, slot, 1)) {
            Some(at) => self.u8_at(at),
            None => Ok(0),
        }
    }

    pub const fn i8_field(self, table: Table, slot: usize) -> Result<i8, ModelError> {
        Ok(ok!(self.u8_field(table, slot)) as i8)
    }

    pub const fn u32_field(self, table: Table, slot: usize) -> Result<u32, ModelError> {
        match ok!(self.field(table, slot, 4)) {
            Some(at) => self.u32_at(at),
            None => Ok(0),
        }
    }

    pub const fn i32_field(self, table: Table, slot: usize, default: i32) -> Result<i32, ModelError> {
        match ok!(self.field(table, slot, 4)) {
            Some(at) => Ok(ok!(self.u32_at(at)) as i32),
            None => Ok(default),
        }
    }

    pub const fn u64_field(self, table: Table, slot: usize) -> Result<u64, ModelError> {
        match ok!(self.field(table, slot, 8)) {
            Some(at) => self.u64_at(at),
            None => Ok(0),
        }
    }

    /// Where the offset field in `slot` leads; None where it is absent.
    pub const fn target(self, table: Table, slot: usize) -> Result<Option<usize>, ModelError> {
        match ok!(self.field(table, slot, 4)) {
            Some(at) => Ok(Some(ok!(self.follow(at)))),
            None => Ok(None),
        }
    }

    /// The list in `slot`, whose elements have `size` bytes each; None where it is absent.
    pub const fn vector(self, table: Table, slot: usize, size: usize) -> Result<Option<Vector>, ModelError> {
        let Some(at) = ok!(self.target(table, slot)) else { return Ok(None) };
        let count = ok!(self.u32_at(at)) as usize;
        let start = at + 4; // cannot overflow: the count was read there
        let Some(bytes) = count.checked_mul(size) else { return Err(Kind::OutOfBounds.at(at)) };
        if !self.holds(start, bytes) {
            return Err(Kind::OutOfBounds.at(at));
        }
        if count > 0 && !start.is_multiple_of(size) {
            return Err(Kind::Misaligned.at(start));
        }
        Ok(Some(Vector { start, count }))
    }

    /// The list in `slot`, empty where it is absent.
    pub const fn vector_or_empty(self, table: Table, slot: usize, size: usize) -> Result<Vector, ModelError> {
        match ok!(self.vector(table, slot, size)) {
            Some(vector) => Ok(vector),
            None => Ok(Vector::EMPTY),
        }
    }

    /// The list in `slot`, which must be there.
    pub const fn required(self, table: Table, slot: usize, size: usize) -> Result<Vector, ModelError> {
        match ok!(self.vector(table, slot, size)) {
            Some(vector) => Ok(vector),
            None => Err(Kind::MissingField.at(table.at)),
        }
    }

    /// Record `index` of a list of records.
    pub const fn table_in(self, list: Vector, index: usize) -> Result<Table, ModelError> {
        self.table(ok!(self.follow(list.start.saturating_add(index.saturating_mul(4)))))
    }

    /// The text in `slot`, which TensorFlow Lite Micro hands to C functions: it must end with a NUL.
    pub const fn string(self, table: Table, slot: usize) -> Result<Vector, ModelError> {
        let Some(text) = ok!(self.vector(table, slot, 1)) else { return Ok(Vector::EMPTY) };
        match ok!(self.u8_at(text.start + text.count)) {
            0 => Ok(text),
            _ => Err(Kind::UnterminatedString.at(text.start)),
        }
    }

    /// Whether a text is `name`.
    pub const fn is_text(self, text: Vector, mut name: &[u8]) -> Result<bool, ModelError> {
        if text.count != name.len() {
            return Ok(false);
        }
        let mut at = text.start;
        while let Some((letter, rest)) = name.split_first() {
            if ok!(self.u8_at(at)) != *letter {
                return Ok(false);
            }
            (at, name) = (at + 1, rest);
        }
        Ok(true)
    }

    /// Checks every field that `layout` names, from slot 4 on: bytes of a number (`1`, `4`, `8`), `v` a list of 4-byte
    /// numbers, `s` text, `.` one that nobody reads.
    pub const fn check_fields(self, table: Table, mut layout: &[u8]) -> Result<(), ModelError> {
        let mut slot = 4;
        while let [field, rest @ ..] = layout {
            match *field {
                b'v' => _ = ok!(self.vector(table, slot, 4)),
                b's' => _ = ok!(self.string(table, slot)),
                digit @ (b'1' | b'4' | b'8') => {
                    let size = (digit - b'0') as usize;
                    if let Some(at) = ok!(self.field(table, slot, size)) {
                        ok!(self.readable(at, size));
                    }
                }
                _ => {}
            }
            (slot, layout) = (slot + 2, rest);
        }
        Ok(())
    }

    /// Checks a record of unknown fields: each must allow a read of 4 bytes.
    pub const fn check_unknown_fields(self, table: Table) -> Result<(), ModelError> {
        let mut slot = 4;
        while slot < table.vtable_length {
            if let Some(at) = ok!(self.field(table, slot, 1))
                && !self.holds(at, 4)
            {
                return Err(Kind::OutOfBounds.at(table.at));
            }
            slot += 2;
        }
        Ok(())
    }

    /// Number of entries in the field list of `table`: what it costs to look at all of them.
    pub const fn entries(table: Table) -> usize {
        table.vtable_length / 2
    }
}
