//! The walk over all records of a file.

use super::error::{ModelError, ModelErrorKind as Kind};
use super::facts::TensorFacts;
use super::reader::{Reader, Table, Vector};
use super::schema::{CODE_LAYOUT, op, slot};
use super::tensor::Tensor;

/// Most tensors of a model: two bits for each are kept on the stack. Models for microcontrollers have some hundred.
const MAX_TENSORS: usize = 2048;
/// Most operators, buffers, operator codes and metadata entries, each.
const MAX_RECORDS: usize = 8192;
/// Most tables and numbers that are looked at altogether: lists may overlap, and without a limit a file of 1 MB could
/// hold 10 000 tensors with the same 100 000 scales.
const MAX_WORK: usize = 1 << 20;

/// A set of small numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<const WORDS: usize>([u32; WORDS]);

impl<const WORDS: usize> Bits<WORDS> {
    pub const EMPTY: Self = Self([0; WORDS]);

    pub const fn contains(&self, number: usize) -> bool {
        if let Some((_, rest)) = self.0.split_at_checked(number / 32)
            && let Some((word, _)) = rest.split_first()
        {
            return (*word >> (number % 32)) & 1 == 1;
        }
        false
    }

    /// Adds `number`, which must be below `32 * WORDS`: what is larger is left out.
    pub const fn insert(&mut self, number: usize) {
        if let Some((_, rest)) = self.0.split_at_mut_checked(number / 32)
            && let Some((word, _)) = rest.split_first_mut()
        {
            *word |= 1 << (number % 32);
        }
    }
}

/// Builtin operator codes: those of the schema fit.
pub(super) type Codes = Bits<8>;

/// Where the parts of a model lie, and what the walk has found so far.
pub(super) struct Graph<'a> {
    pub reader: Reader<'a>,
    /// Refuse what only upstream's TensorFlow Lite Micro of 2026 runs safely.
    pub everywhere: bool,
    pub codes: Vector,
    pub tensors: Vector,
    pub operators: Vector,
    /// Tensors that hold a value by now.
    pub written: Bits<{ MAX_TENSORS / 32 }>,
    /// Tensors of type int4, whose constants are packed.
    pub packed: Bits<{ MAX_TENSORS / 32 }>,
    pub codes_used: Codes,
    /// Operators of which only the structure was checked.
    pub structure_only: usize,
    buffers: Vector,
    work: usize,
}

impl<'a> Graph<'a> {
    /// The parts of the model in `data`; none of them is checked yet.
    pub const fn open(data: &'a [u8], everywhere: bool) -> Result<(Self, Table, Table), ModelError> {
        let Some((_, rest)) = data.split_at_checked(4) else { return Err(Kind::TooShort.at(0)) };
        match rest.first_chunk::<4>() {
            Some(b"TFL3") => {}
            Some(_) => return Err(Kind::NotTflite.at(4)),
            None => return Err(Kind::TooShort.at(0)),
        }
        if data.len() > i32::MAX as usize {
            return Err(Kind::TooLong.at(0));
        }
        let reader = Reader::new(data);
        let root = ok!(reader.table(ok!(reader.follow(0))));
        let version = ok!(reader.u32_field(root, slot::MODEL_VERSION));
        if version != 3 {
            return Err(Kind::SchemaVersion(version).at(root.at));
        }
        let codes = ok!(reader.required(root, slot::MODEL_OPERATOR_CODES, 4));
        let buffers = ok!(reader.required(root, slot::MODEL_BUFFERS, 4));
        let subgraphs = ok!(reader.required(root, slot::MODEL_SUBGRAPHS, 4));
        if subgraphs.count != 1 {
            return Err(Kind::Subgraphs.at(subgraphs.start));
        }
        let main = ok!(reader.table_in(subgraphs, 0));
        let tensors = ok!(reader.required(main, slot::SUBGRAPH_TENSORS, 4));
        let operators = ok!(reader.required(main, slot::SUBGRAPH_OPERATORS, 4));
        if tensors.count > MAX_TENSORS {
            return Err(Kind::TooMuch.at(tensors.start));
        }
        let graph = Self {
            reader,
            everywhere,
            codes,
            tensors,
            operators,
            written: Bits::EMPTY,
            packed: Bits::EMPTY,
            codes_used: Codes::EMPTY,
            structure_only: 0,
            buffers,
            work: 0,
        };
        Ok((graph, root, main))
    }

    /// Checks everything; returns what the model's input and output are.
    pub const fn check(&mut self, root: Table, main: Table) -> Result<(TensorFacts, TensorFacts), ModelError> {
        ok!(self.check_buffers());
        ok!(self.check_codes());
        ok!(self.check_metadata(root));
        ok!(self.check_tensors());
        ok!(self.reader.string(main, slot::SUBGRAPH_NAME));
        let inputs = ok!(self.reader.required(main, slot::SUBGRAPH_INPUTS, 4));
        let outputs = ok!(self.reader.required(main, slot::SUBGRAPH_OUTPUTS, 4));
        if inputs.count != 1 || outputs.count != 1 {
            return Err(Kind::InputsOutputs.at(main.at));
        }
        let (input_index, output_index) = (ok!(self.number_in(inputs, 0)), ok!(self.number_in(outputs, 0)));
        let (input, output) = (ok!(self.tensor(input_index)), ok!(self.tensor(output_index)));
        if self.written.contains(input_index) {
            return Err(Kind::Overwrite.at(input.at)); // a constant in read-only memory, or a variable
        }
        self.written.insert(input_index);
        ok!(self.spend(self.operators, MAX_RECORDS));
        let mut index = 0;
        while index < self.operators.count {
            ok!(self.check_operator(index));
            index += 1;
        }
        if !self.written.contains(output_index) || input_index == output_index {
            return Err(Kind::ReadBeforeWrite.at(output.at));
        }
        if output.is_constant() || output.variable {
            return Err(Kind::Overwrite.at(output.at));
        }
        Ok((ok!(input.facts(self.reader)), ok!(output.facts(self.reader))))
    }

    /// Counts the elements of `list` as work, each of which is about to be looked at; at most `most` are allowed.
    pub const fn spend(&mut self, list: Vector, most: usize) -> Result<(), ModelError> {
        self.work = self.work.saturating_add(list.count);
        if list.count > most || self.work > MAX_WORK {
            return Err(Kind::TooMuch.at(list.start));
        }
        Ok(())
    }

    const fn check_buffers(&mut self) -> Result<(), ModelError> {
        ok!(self.spend(self.buffers, MAX_RECORDS));
        let mut index = 0;
        while index < self.buffers.count {
            let table = ok!(self.reader.table_in(self.buffers, index));
            ok!(self.reader.vector(table, slot::BUFFER_DATA, 1));
            // Both are 0 or 1 where the data lie inside; TensorFlow Lite Micro does not look at them.
            let offset = ok!(self.reader.u64_field(table, slot::BUFFER_OFFSET));
            let size = ok!(self.reader.u64_field(table, slot::BUFFER_SIZE));
            if offset > 1 || size > 1 {
                return Err(Kind::ExternalBuffer.at(table.at));
            }
            index += 1;
        }
        Ok(())
    }

    /// The data of buffer `index`, whose alignment is not checked; empty: a buffer of the arena.
    pub const fn buffer(&self, index: usize, from: Table) -> Result<Vector, ModelError> {
        if index >= self.buffers.count {
            return Err(Kind::Index.at(from.at));
        }
        let table = ok!(self.reader.table_in(self.buffers, index));
        self.reader.vector_or_empty(table, slot::BUFFER_DATA, 1)
    }

    const fn check_codes(&mut self) -> Result<(), ModelError> {
        ok!(self.spend(self.codes, MAX_RECORDS));
        let mut index = 0;
        while index < self.codes.count {
            ok!(self.reader.check_fields(ok!(self.reader.table_in(self.codes, index)), CODE_LAYOUT));
            ok!(self.code(index));
            index += 1;
        }
        Ok(())
    }

    /// The builtin operator of operator code `index`.
    pub const fn code(&self, index: usize) -> Result<i32, ModelError> {
        let (code, old, at) = ok!(builtin_code(self.reader, self.codes, index));
        if code < 0 || code > op::LAST || code == op::PLACEHOLDER {
            return Err(Kind::OperatorCode(code).at(at));
        }
        if code == op::CUSTOM {
            return Err(Kind::CustomOperator.at(at));
        }
        // The 2020 revision knows the old field alone, and would run another operator on these tensors.
        let expected = if code < op::PLACEHOLDER { code } else { op::PLACEHOLDER };
        if self.everywhere && old != expected {
            return Err(Kind::UpstreamOnly.at(at));
        }
        Ok(code)
    }

    const fn check_metadata(&mut self, root: Table) -> Result<(), ModelError> {
        let entries = ok!(self.reader.vector_or_empty(root, slot::MODEL_METADATA, 4));
        ok!(self.spend(entries, MAX_RECORDS));
        let mut index = 0;
        while index < entries.count {
            let table = ok!(self.reader.table_in(entries, index));
            let name = ok!(self.reader.string(table, slot::METADATA_NAME));
            ok!(self.buffer(ok!(self.reader.u32_field(table, slot::METADATA_BUFFER)) as usize, table));
            if ok!(self.reader.is_text(name, b"OfflineMemoryAllocation"))
                || ok!(self.reader.is_text(name, b"COMPRESSION_METADATA"))
            {
                return Err(Kind::Metadata.at(table.at));
            }
            index += 1;
        }
        Ok(())
    }

    const fn check_tensors(&mut self) -> Result<(), ModelError> {
        ok!(self.spend(self.tensors, MAX_TENSORS));
        let mut index = 0;
        while index < self.tensors.count {
            let tensor = ok!(self.check_tensor(index));
            if tensor.is_int4() {
                self.packed.insert(index);
            }
            if tensor.is_constant() || tensor.variable {
                self.written.insert(index);
            }
            index += 1;
        }
        Ok(())
    }

    /// The number of the tensor that element `index` of a list refers to.
    pub const fn number_in(&self, list: Vector, index: usize) -> Result<usize, ModelError> {
        if index >= list.count {
            return Err(Kind::Arity.at(list.start));
        }
        let number = ok!(self.reader.i32_in(list, index));
        if number < 0 || number as usize >= self.tensors.count {
            return Err(Kind::Index.at(list.start));
        }
        Ok(number as usize)
    }

    /// The tensor that element `index` of a list refers to.
    pub const fn tensor_in(&self, list: Vector, index: usize) -> Result<Tensor, ModelError> {
        self.tensor(ok!(self.number_in(list, index)))
    }
}

/// The builtin operator of operator code `index`, what a reader from before 2020-07 takes it for, and where that
/// stands.
pub(super) const fn builtin_code(
    reader: Reader<'_>,
    codes: Vector,
    index: usize,
) -> Result<(i32, i32, usize), ModelError> {
    let table = ok!(reader.table_in(codes, index));
    let old = ok!(reader.i8_field(table, slot::CODE_DEPRECATED)) as i32;
    let new = ok!(reader.i32_field(table, slot::CODE_BUILTIN, 0));
    Ok((if new > old { new } else { old }, old, table.at))
}
