//! A checker of TensorFlow Lite models (`.tflite`, schema version 3), to run before the bytes reach C++.
//!
//! TensorFlow Lite Micro follows the offsets of a flatbuffer wherever they lead, and its kernels take shapes on trust
//! once assertions are compiled out. [`Model::check`] goes over the whole file first and refuses whatever would make it
//! read or write outside the file, the tensors or its own tables. All of it is `const`: over `include_bytes!` it runs
//! in the compiler ([`Model::require`]) and leaves no code in the firmware; over a downloaded file the same code runs
//! on the device. It takes no memory but some 3 KiB of stack, does not panic, and its time is in proportion to the
//! number of tables, operands and scales, of which a file may have about a million; weights are not read.
//!
//! Checked for every model:
//!
//! - the file: identifier, schema version, each table, field list, field, list and name that TensorFlow Lite Micro
//!   follows (inside, aligned, NUL-terminated); exactly one subgraph, one input and one output;
//! - tensors: known element type, at most 6 dimensions, all above 0, less than 2 GiB; constants have all their data,
//!   aligned for their type; scales positive and finite, zero points in range, as many as there are channels; nothing
//!   sparse or in another file;
//! - operators: builtin ones only, no control flow; tensor numbers in range; options of the operator's own type, every
//!   field inside; nothing is read before it is written, and no constant, variable or input is written to, nothing
//!   twice;
//! - metadata: neither an offline memory plan nor compressed tensors.
//!
//! Shapes, element types and option values are checked for these operators:
//!
//! - CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D;
//! - ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, POW, FLOOR_DIV, FLOOR_MOD, SQUARED_DIFFERENCE, LOGICAL_AND, LOGICAL_OR,
//!   EQUAL, NOT_EQUAL, GREATER, GREATER_EQUAL, LESS, LESS_EQUAL, PRELU: equal shapes, or spread over at most 4
//!   dimensions;
//! - ABS, CEIL, COS, ELU, EXP, FLOOR, GELU, HARD_SWISH, LEAKY_RELU, LOG, LOGICAL_NOT, LOGISTIC, NEG, RELU, RELU6,
//!   RELU_N1_TO_1, ROUND, RSQRT, SIN, SQRT, SQUARE, TANH, ZEROS_LIKE, L2_NORMALIZATION, LOG_SOFTMAX, SOFTMAX, CAST,
//!   DEQUANTIZE, QUANTIZE;
//! - RESHAPE, SQUEEZE, EXPAND_DIMS, CONCATENATION, PAD, PADV2, MEAN, SUM, REDUCE_MAX, REDUCE_MIN.
//!
//! Of all others only the structure is checked, as above, and the number of inputs; [`Model::structure_only_operators`]
//! says how many there are, and a firmware that must not trust its models refuses any.
//!
//! What is not checked: whether the arena suffices (TensorFlow Lite Micro does), values of weights, and whether an
//! operator computes what the author meant. The 2020 revision, for one, ignores the fused activation of an INT8 depthwise
//! convolution, its dilation when it pads, and all scales of a fully connected layer but the first.

/// `?` for const functions.
macro_rules! ok {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Err(error),
        }
    };
}

mod engine;
mod error;
mod facts;
mod graph;
mod operators;
mod reader;
mod schema;
mod shapes;
mod tensor;
mod windows;

pub use engine::Engine;
pub use error::{ModelError, ModelErrorKind};
pub use facts::{Element, MAX_RANK, TensorFacts};

use graph::{Codes, Graph, builtin_code};
use reader::{Reader, Vector};

/// A model whose every offset that TensorFlow Lite Micro follows was checked.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    bytes: &'a [u8],
    input: TensorFacts,
    output: TensorFacts,
    operators: usize,
    structure_only: usize,
    operator_codes: Vector,
    codes_used: Codes,
}

impl<'a> Model<'a> {
    /// Checks a model for the TensorFlow Lite Micro that this program is linked with, [`Engine::LINKED`].
    ///
    /// Alignment is checked relative to the first byte: `bytes` must lie at a multiple of 16 when they are run.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, and its byte offset.
    pub const fn check(bytes: &'a [u8]) -> Result<Self, ModelError> {
        Self::check_for(bytes, Engine::LINKED)
    }

    /// As [`Model::check`], for another engine than this program's own.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, and its byte offset; [`ModelErrorKind::UpstreamOnly`] where upstream's would do.
    pub const fn check_for(bytes: &'a [u8], engine: Engine) -> Result<Self, ModelError> {
        let (mut graph, root, main) = ok!(Graph::open(bytes, matches!(engine, Engine::Any)));
        let (input, output) = ok!(graph.check(root, main));
        Ok(Self {
            bytes,
            input,
            output,
            operators: graph.operators.count,
            structure_only: graph.structure_only,
            operator_codes: graph.codes,
            codes_used: graph.codes_used,
        })
    }

    /// [`Model::check`] for a model that is part of the program: `const MODEL: Model<'static> = Model::require(...)`
    /// does not compile unless the model is sound and its input and output are as the program expects.
    ///
    /// `bytes` must lie at a multiple of 16, which `include_bytes!` alone does not promise.
    ///
    /// # Panics
    ///
    /// If the check fails, with its sentence, or if `input` or `output` differ from the model's in anything.
    pub const fn require(bytes: &'a [u8], input: &TensorFacts, output: &TensorFacts) -> Self {
        match Self::check(bytes) {
            Ok(model) => {
                assert!(model.input.same(input), "the model's input differs in type, shape, scale or zero point");
                assert!(model.output.same(output), "the model's output differs in type, shape, scale or zero point");
                model
            }
            Err(error) => panic!("{}", error.kind.sentence()),
        }
    }

    /// The file.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Type, shape and quantization of the only input.
    pub const fn input(&self) -> &TensorFacts {
        &self.input
    }

    /// Type, shape and quantization of the only output.
    pub const fn output(&self) -> &TensorFacts {
        &self.output
    }

    /// How many operators run, one after the other.
    pub const fn operators(&self) -> usize {
        self.operators
    }

    /// How many of them are operators whose shapes this module does not know (see there).
    pub const fn structure_only_operators(&self) -> usize {
        self.structure_only
    }

    /// Whether every operator in use is one of `codes` (`BuiltinOperator` of schema.fbs), for which there are kernels.
    ///
    /// # Errors
    ///
    /// [`ModelErrorKind::OperatorNotAllowed`] with the first that is not, at its operator code.
    pub const fn uses_only(&self, codes: &[i32]) -> Result<(), ModelError> {
        let reader = Reader::new(self.bytes);
        let mut index = 0;
        while index < self.operator_codes.count {
            let (code, _, at) = ok!(builtin_code(reader, self.operator_codes, index));
            if self.codes_used.contains(code as usize) && !contains(codes, code) {
                return Err(ModelErrorKind::OperatorNotAllowed(code).at(at));
            }
            index += 1;
        }
        Ok(())
    }
}

const fn contains(mut codes: &[i32], code: i32) -> bool {
    while let Some((first, rest)) = codes.split_first() {
        if *first == code {
            return true;
        }
        codes = rest;
    }
    false
}
