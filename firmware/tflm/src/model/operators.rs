//! Operators: their tensors, options and the order in which they run.

use super::error::{ModelError, ModelErrorKind as Kind};
use super::graph::Graph;
use super::reader::{Reader, Table, Vector};
use super::schema::{arity, layout, may_omit, op, options_of, slot};
use super::tensor::Tensor;

/// An operator whose tensor numbers are in range.
#[derive(Clone, Copy)]
pub(super) struct Operator {
    /// Where its record is.
    pub at: usize,
    /// `BuiltinOperator`.
    pub code: i32,
    pub inputs: Vector,
    pub outputs: Vector,
    /// Its options where they are of the type that belongs to `code`.
    options: Option<Table>,
}

impl Operator {
    /// The options, which must be there.
    pub const fn options(&self) -> Result<Table, ModelError> {
        match self.options {
            Some(table) => Ok(table),
            None => Err(Kind::Options.at(self.at)),
        }
    }

    /// Ok where the numbers of inputs and outputs are these.
    pub const fn takes(&self, fewest: usize, most: usize, outputs: usize) -> Result<(), ModelError> {
        if self.inputs.count < fewest || self.inputs.count > most || self.outputs.count != outputs {
            return Err(Kind::Arity.at(self.at));
        }
        Ok(())
    }

    /// This error, at this operator, unless `fits`.
    pub const fn must(&self, fits: bool, kind: Kind) -> Result<(), ModelError> {
        if fits { Ok(()) } else { Err(kind.at(self.at)) }
    }
}

impl Graph<'_> {
    /// Checks operator `index`, all before it having been checked, and marks its outputs as written.
    pub const fn check_operator(&mut self, index: usize) -> Result<(), ModelError> {
        let reader = self.reader;
        let table = ok!(reader.table_in(self.operators, index));
        let code_index = ok!(reader.u32_field(table, slot::OPERATOR_CODE_INDEX)) as usize;
        if code_index >= self.codes.count {
            return Err(Kind::Index.at(table.at));
        }
        let code = ok!(self.code(code_index));
        if matches!(code, op::IF | op::WHILE | op::CALL_ONCE) {
            return Err(Kind::ControlFlow(code).at(table.at));
        }
        self.codes_used.insert(code as usize);
        let operator = Operator {
            at: table.at,
            code,
            inputs: ok!(reader.required(table, slot::OPERATOR_INPUTS, 4)),
            outputs: ok!(reader.required(table, slot::OPERATOR_OUTPUTS, 4)),
            options: ok!(self.check_options(table, code)),
        };
        ok!(self.check_inputs(&operator));
        let intermediates = ok!(reader.vector_or_empty(table, slot::OPERATOR_INTERMEDIATES, 4));
        ok!(self.spend(intermediates, usize::MAX));
        let mut index = 0;
        while index < intermediates.count {
            ok!(self.number_in(intermediates, index));
            index += 1;
        }
        if !ok!(self.check_shapes(&operator)) {
            self.structure_only += 1;
        }
        self.write_outputs(&operator)
    }

    const fn check_inputs(&mut self, operator: &Operator) -> Result<(), ModelError> {
        let (inputs, outputs) = arity(operator.code);
        if operator.inputs.count < inputs || operator.outputs.count < outputs {
            return Err(Kind::Arity.at(operator.at));
        }
        ok!(self.spend(operator.inputs, usize::MAX));
        let mut index = 0;
        while index < operator.inputs.count {
            if let Some(number) = ok!(self.optional(operator, index)) {
                if !self.written.contains(number) {
                    return Err(Kind::ReadBeforeWrite.at(operator.at));
                }
                // Kernels for packed 4-bit weights read half a byte an element, all others a whole one.
                let unpacks = matches!(operator.code, op::CONV_2D | op::DEPTHWISE_CONV_2D | op::FULLY_CONNECTED);
                if self.packed.contains(number) && !(unpacks && index == 1) {
                    return Err(Kind::OperandType.at(operator.at));
                }
            }
            index += 1;
        }
        Ok(())
    }

    const fn write_outputs(&mut self, operator: &Operator) -> Result<(), ModelError> {
        ok!(self.spend(operator.outputs, usize::MAX));
        let mut index = 0;
        while index < operator.outputs.count {
            let number = ok!(self.number_in(operator.outputs, index));
            if self.written.contains(number) {
                return Err(Kind::Overwrite.at(operator.at));
            }
            if self.packed.contains(number) {
                return Err(Kind::OperandType.at(operator.at));
            }
            self.written.insert(number);
            index += 1;
        }
        Ok(())
    }

    /// The number of input `index`; None where it is left out, which not every operator allows.
    const fn optional(&self, operator: &Operator, index: usize) -> Result<Option<usize>, ModelError> {
        if index < operator.inputs.count && ok!(self.reader.i32_in(operator.inputs, index)) == -1 {
            if !may_omit(operator.code, index) {
                return Err(Kind::OmittedInput.at(operator.at));
            }
            if self.everywhere {
                return Err(Kind::UpstreamOnly.at(operator.at)); // 2020: writes in front of its list of tensors
            }
            return Ok(None);
        }
        Ok(Some(ok!(self.number_in(operator.inputs, index))))
    }

    /// Input `index`, which must be there.
    pub const fn input(&self, operator: &Operator, index: usize) -> Result<Tensor, ModelError> {
        self.tensor_in(operator.inputs, index)
    }

    /// The bias, input 2 of those operators that have one.
    pub const fn bias(&self, operator: &Operator) -> Result<Option<Tensor>, ModelError> {
        if operator.inputs.count < 3 {
            return Ok(None);
        }
        match ok!(self.optional(operator, 2)) {
            Some(number) => Ok(Some(ok!(self.tensor(number)))),
            None => Ok(None),
        }
    }

    /// Output `index`, which must be there.
    pub const fn output(&self, operator: &Operator, index: usize) -> Result<Tensor, ModelError> {
        self.tensor_in(operator.outputs, index)
    }

    /// Checks the options in an operator's record; returns them where they belong to `code`.
    const fn check_options(&mut self, table: Table, code: i32) -> Result<Option<Table>, ModelError> {
        let reader = self.reader;
        if ok!(reader.field(table, slot::OPERATOR_CUSTOM_OPTIONS, 4)).is_some()
            || ok!(reader.u8_field(table, slot::OPERATOR_OPTIONS_2_TYPE)) != 0
        {
            return Err(Kind::Options.at(table.at)); // of custom and StableHLO operators
        }
        let options_type = ok!(reader.u8_field(table, slot::OPERATOR_OPTIONS_TYPE));
        let needed = options_of(code);
        let options = match ok!(reader.target(table, slot::OPERATOR_OPTIONS)) {
            Some(place) if options_type != 0 => ok!(reader.table(place)),
            _ if needed == 0 => return Ok(None),
            _ => return Err(Kind::Options.at(table.at)),
        };
        let Some(fields) = layout(options_type) else {
            let entries = Vector { start: options.at, count: Reader::entries(options) };
            ok!(self.spend(entries, usize::MAX));
            ok!(reader.check_unknown_fields(options));
            return if needed == 0 { Ok(None) } else { Err(Kind::Options.at(table.at)) };
        };
        ok!(reader.check_fields(options, fields));
        if needed != 0 && options_type != needed {
            return Err(Kind::Options.at(table.at));
        }
        Ok(if needed == 0 { None } else { Some(options) })
    }
}
