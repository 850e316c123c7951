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

    const fn array<const N: usize>(self, at: usize) -> Result<[u8; N], ModelError> {
        if let Some((_, rest)) = self.data.split_at_checked(at)
            && let Some(bytes) = rest.first_chunk::<N>()
        {
            return Ok(*bytes);
        }
        Err(Kind::OutOfBounds.at(at))
    }

    pub const fn u8_at(self, at: usize) -> Result<u8, ModelError> {
        Ok(u8::from_le_bytes(ok!(self.array(at))))
    }

    const fn u16_at(self, at: usize) -> Result<u16, ModelError> {
        Ok(u16::from_le_bytes(ok!(self.array(at))))
    }

    pub const fn u32_at(self, at: usize) -> Result<u32, ModelError> {
        Ok(u32::from_le_bytes(ok!(self.array(at))))
    }

    /// Element `index` of a list of int32.
    pub const fn i32_in(self, list: Vector, index: usize) -> Result<i32, ModelError> {
        Ok(i32::from_le_bytes(ok!(self.array(list.start.saturating_add(index.saturating_mul(4))))))
    }

    /// The bits of element `index` of a list of float32.
    pub const fn f32_bits_in(self, list: Vector, index: usize) -> Result<u32, ModelError> {
        self.u32_at(list.start.saturating_add(index.saturating_mul(4)))
    }

    /// Element `index` of a list of int64.
    pub const fn i64_in(self, list: Vector, index: usize) -> Result<i64, ModelError> {
        Ok(i64::from_le_bytes(ok!(self.array(list.start.saturating_add(index.saturating_mul(8))))))
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
        let back = i32::from_le_bytes(ok!(self.array(at)));
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
            Some(at) => Ok(u64::from_le_bytes(ok!(self.array(at)))),
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

    /// For a record of unknown fields: every one of them must allow a read of 4 bytes, or of 1 where it is the last.
    pub const fn any_fields(self, table: Table) -> Result<(), ModelError> {
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

    /// Number of fields that the field list of `table` has room for: what it costs to look at all of them.
    pub const fn fields(table: Table) -> usize {
        table.vtable_length / 2
    }
}
