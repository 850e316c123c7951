//! What can be wrong with a model file.

use core::fmt;

/// Why a file was refused, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelError {
    /// What is wrong.
    pub kind: ModelErrorKind,
    /// Byte offset in the file of the record or number that shows it; 0 where the file as a whole is meant.
    pub at: usize,
}

/// What is wrong with a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelErrorKind {
    /// Fewer bytes than the header has.
    TooShort,
    /// More bytes than a flatbuffer can address.
    TooLong,
    /// No `TFL3` identifier.
    NotTflite,
    /// A schema version other than 3.
    SchemaVersion(u32),
    /// An offset or a length that leads outside the file.
    OutOfBounds,
    /// A number that does not lie at a multiple of its size.
    Misaligned,
    /// A table whose field list or length is impossible.
    DamagedTable,
    /// A field that lies outside its table.
    FieldOutsideTable,
    /// Text without its NUL.
    UnterminatedString,
    /// A field that TensorFlow Lite Micro takes for granted is absent.
    MissingField,
    /// More tables, tensors or numbers than the checker is ready to visit.
    TooMuch,
    /// Not exactly one subgraph.
    Subgraphs,
    /// Not exactly one input and one output.
    InputsOutputs,
    /// An operator code index, tensor index or buffer index out of range.
    Index,
    /// More than 6 dimensions.
    Rank,
    /// A dimension below 1.
    Dimension,
    /// A tensor of 2 GiB or more.
    TensorSize,
    /// An element type that TensorFlow Lite Micro does not know the size of (`TensorType` in schema.fbs).
    ElementType(i8),
    /// A constant whose buffer is smaller than its shape says.
    ConstantTooShort,
    /// A buffer that lies outside the flatbuffer.
    ExternalBuffer,
    /// A sparse tensor.
    Sparse,
    /// A variable that has constant data too.
    ConstantVariable,
    /// Numbers of scales and zero points that do not fit each other or the shape, or several for the model's input or
    /// output.
    QuantizationLength,
    /// A quantized dimension that the tensor does not have, or not the one that the operator is quantized along.
    QuantizedDimension,
    /// A scale that is not a positive, finite number.
    Scale,
    /// A zero point outside the range of the element type.
    ZeroPoint,
    /// Quantization of a kind other than affine.
    QuantizationDetails,
    /// Metadata whose contents TensorFlow Lite Micro would trust: an offline memory plan or compressed tensors.
    Metadata,
    /// An operator code that no schema has.
    OperatorCode(i32),
    /// A custom operator.
    CustomOperator,
    /// An operator that runs another subgraph, of which there is none.
    ControlFlow(i32),
    /// Options that are absent or another operator's, or custom options of a builtin operator.
    Options,
    /// A stride, dilation, filter size, axis, padding or similar that is out of range.
    OptionValue,
    /// Too few or too many inputs or outputs for the operator.
    Arity,
    /// An input left out (-1) that the operator cannot do without.
    OmittedInput,
    /// An operator reads a tensor that nothing has written before.
    ReadBeforeWrite,
    /// An operator writes to a constant, a variable, the model's input or another operator's output.
    Overwrite,
    /// An operand of an element type that the operator cannot take, or not along with the others.
    OperandType,
    /// An operand whose shape does not fit the others.
    OperandShape,
    /// An operand that must be constant and is not.
    OperandNotConstant,
    /// Safe on the TensorFlow Lite Micro of 2026 only; that of 2020 or Espressif's kernels read outside a tensor.
    UpstreamOnly,
    /// A builtin operator that is not on the list given to `uses_only`.
    OperatorNotAllowed(i32),
}

impl ModelErrorKind {
    /// One sentence for a person, without the place.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::TooShort => "the file is empty or ends within its header: is it truncated?",
            Self::TooLong => "the file is larger than the 2 GiB that a flatbuffer can address",
            Self::NotTflite => "no TFL3 identifier: not a TensorFlow Lite model",
            Self::SchemaVersion(_) => "only version 3 of the TensorFlow Lite schema is known",
            Self::OutOfBounds => "an offset or length leads outside the file: is it truncated or damaged?",
            Self::Misaligned => "a number or list is not aligned to the size of its elements: the file is damaged",
            Self::DamagedTable => "a record has an impossible field list or length: the file is damaged",
            Self::FieldOutsideTable => "a field lies outside its record: the file is damaged",
            Self::UnterminatedString => "a name does not end with a NUL: the file is damaged",
            Self::MissingField => "a list that every model has is absent",
            Self::TooMuch => "more tensors, operators or numbers than a model for a microcontroller has",
            Self::Subgraphs => "the model must have exactly one subgraph",
            Self::InputsOutputs => "the model must have exactly one input and one output",
            Self::Index => "a tensor, buffer or operator code is referred to that does not exist",
            Self::Rank => "a tensor has more than 6 dimensions",
            Self::Dimension => "a dimension is below 1: shapes must be fixed when the model is converted",
            Self::TensorSize => "a tensor takes 2 GiB or more",
            Self::ElementType(_) => "a tensor has an element type that TensorFlow Lite Micro does not know",
            Self::ConstantTooShort => "a constant tensor has less data than its shape says",
            Self::ExternalBuffer => "data outside the flatbuffer, which TensorFlow Lite Micro does not read",
            Self::Sparse => "a sparse tensor, which TensorFlow Lite Micro would read as a dense one",
            Self::ConstantVariable => "a variable tensor has constant data",
            Self::QuantizationLength => "the numbers of scales and zero points fit neither each other nor the shape",
            Self::QuantizedDimension => "the quantized dimension does not exist or is not the operator's",
            Self::Scale => "a scale is not a positive, finite number",
            Self::ZeroPoint => "a zero point lies outside the range of its type",
            Self::QuantizationDetails => "quantization other than by scale and zero point",
            Self::Metadata => "an offline memory plan or compressed tensors, whose offsets cannot be checked",
            Self::OperatorCode(_) => "an operator code that the schema does not have",
            Self::CustomOperator => "a custom operator: only builtin operators are supported",
            Self::ControlFlow(_) => "an operator that calls another subgraph: only one subgraph is supported",
            Self::Options => "an operator lacks its options or has another operator's",
            Self::OptionValue => "a stride, dilation, filter size, axis or padding is out of range",
            Self::Arity => "an operator has too few or too many inputs or outputs",
            Self::OmittedInput => "an operator lacks an input that it cannot do without",
            Self::ReadBeforeWrite => "an operator or the model's output reads a tensor that nothing has written",
            Self::Overwrite => {
                "an operator writes to a tensor that is constant, variable, the input or written already"
            }
            Self::OperandType => "the element types of an operator's tensors do not fit each other",
            Self::OperandShape => "the shapes of an operator's tensors do not fit each other",
            Self::OperandNotConstant => "an operator's axis, padding or shape is not constant",
            Self::UpstreamOnly => "TensorFlow Lite Micro of 2020 or ESP-NN would read outside a tensor here",
            Self::OperatorNotAllowed(_) => "an operator that this firmware has no kernel for",
        }
    }

    /// This error at byte `at`.
    pub(super) const fn at(self, at: usize) -> ModelError {
        ModelError { kind: self, at }
    }
}

impl fmt::Display for ModelErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SchemaVersion(version) => write!(f, "schema version {version}: {}", self.sentence()),
            Self::ElementType(code) => write!(f, "{} (type {code})", self.sentence()),
            Self::OperatorCode(code) | Self::ControlFlow(code) | Self::OperatorNotAllowed(code) => {
                write!(f, "{} (builtin operator {code})", self.sentence())
            }
            _ => f.write_str(self.sentence()),
        }
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.kind, self.at)
    }
}

impl core::error::Error for ModelError {}
