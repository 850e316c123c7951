//! The JSON contract between Python and the firmware: what is known of a model when its firmware is compiled.
//!
//! Python writes it (`tasks/contract.py`); this crate reads it in the build script of `model` and turns it into Rust.
//! `contract.schema.json` says what it may hold; both sides test themselves against it and against `examples/`.

#![forbid(unsafe_code)]

mod generate;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use generate::generate;

/// The version of the contract that this crate reads.
pub const VERSION: u32 = 1;
/// Values of an output, at most: far more than any score or feature map has.
pub const MAX_OUTPUT_VALUES: u64 = 1 << 22;

/// Everything that the firmware is compiled with, besides the model itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Version of the contract: 1.
    pub contract: u32,
    /// The model that all of this is about.
    pub model: ModelFile,
    /// Operators in use, by their names in the TFLite schema, sorted: the op resolver.
    pub operators: Vec<String>,
    /// The only input.
    pub input: Tensor,
    /// The only output.
    pub output: Tensor,
    /// Size of a camera frame.
    pub camera: Size,
    /// How gray levels become input bytes.
    pub feeding: Feeding,
    /// Tensor arena, bytes, a multiple of 16.
    pub arena_bytes: u32,
    /// When a person counts as seen; `None` for a model that is no detector (one that was cut for a comparison).
    #[serde(deserialize_with = "Option::deserialize")]
    // must be there: left out is a mistake, no model without detector
    pub decision: Option<Decision>,
}

/// A model by size and content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// SHA-256 (hex) of the .tflite.
    pub sha256: String,
    /// Its size.
    pub bytes: u32,
}

/// A quantized tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Element type.
    pub element: Element,
    /// Dimensions, at most 6.
    pub shape: Vec<i32>,
    /// Quantization scale, exactly a float32.
    pub scale: f64,
    /// Quantization zero point.
    pub zero_point: i32,
}

/// Element type of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// Signed bytes.
    Int8,
    /// Unsigned bytes.
    Uint8,
}

/// Width and height, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// How gray levels 0..255 become input bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Feeding {
    // With braces: serde accepts any further field beside a variant without.
    /// `x ^ 0x80`.
    Flip {},
    /// As they are.
    Same {},
    /// By table.
    Table {
        /// The input byte of each gray level, 256 values 0..255.
        table: Vec<u8>,
    },
}

/// Thresholds and hysteresis, in output steps and frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// 1: the score; 2: no person, person.
    pub outputs: u8,
    /// Smallest score that speaks for a person.
    pub enter: i32,
    /// Smallest score that does not speak against one.
    pub leave: i32,
    /// Frames in a row that must speak for a person.
    pub enter_frames: u16,
    /// Frames in a row that must speak against one.
    pub leave_frames: u16,
    /// Age beyond which an answer is stale, milliseconds.
    pub stale_after_ms: u32,
}

/// Why a contract, or the model beside it, is refused.
#[derive(Debug)]
pub struct Refused(pub String);

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Contract {
    /// Reads a contract and checks it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, by field.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let mut json = serde_json::Deserializer::from_str(text);
        let read = serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string());
        let contract: Self = read
            .and_then(|contract| json.end().map(|()| contract).map_err(|error| error.to_string()))
            .map_err(|reason| Refused(format!("contract.json: {reason}")))?;
        contract.check()?;
        Ok(contract)
    }

    /// Reads `contract.json` in `folder` and compares it with `model.tflite` beside it.
    ///
    /// # Errors
    ///
    /// A missing file, a contract that is refused, or another model than the contract's.
    pub fn read(folder: &Path) -> Result<(Self, Vec<u8>), Refused> {
        let name = |file: &str| folder.join(file);
        let failed =
            |file: &str, error: std::io::Error| Refused(format!("cannot read {}: {error}", name(file).display()));
        let text = std::fs::read_to_string(name("contract.json")).map_err(|error| failed("contract.json", error))?;
        let model = std::fs::read(name("model.tflite")).map_err(|error| failed("model.tflite", error))?;
        let contract = Self::parse(&text)?;
        let found: String = Sha256::digest(&model).iter().map(|byte| format!("{byte:02x}")).collect();
        if found != contract.model.sha256 || u64::from(contract.model.bytes) != model.len() as u64 {
            return Err(Refused(format!(
                "{} is another model than the contract's: {} bytes, SHA-256 {found}",
                name("model.tflite").display(),
                model.len()
            )));
        }
        Ok((contract, model))
    }

    fn check(&self) -> Result<(), Refused> {
        let refuse = |reason: String| Err(Refused(format!("contract.json: {reason}")));
        if self.contract != VERSION {
            let wanted = format!("only {VERSION} is known: build with the firmware of that version");
            return refuse(format!("contract {}, {wanted}", self.contract));
        }
        if self.model.sha256.len() != 64 || !self.model.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return refuse("model.sha256 is not 64 hexadecimal digits".into());
        }
        if self.model.bytes == 0 {
            return refuse("model.bytes is 0".into());
        }
        if self.operators.is_empty() || !self.operators.is_sorted_by(|one, next| one < next) {
            return refuse("operators must be sorted names, each once".into());
        }
        // They become names in the generated source.
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
        if let Some(name) = self.operators.iter().find(|name| !is_name(name)) {
            return refuse(format!("operators: {name:?} is no operator's name"));
        }
        self.input.check("input")?;
        self.output.check("output")?;
        match self.input.shape.as_slice() {
            [1, height, width, 1 | 3] if *height <= 4096 && *width <= 320 => {}
            other => {
                let wanted = "the firmware feeds 1 x height (at most 4096) x width (at most 320) x 1 or 3";
                return refuse(format!("input.shape {other:?}: {wanted}"));
            }
        }
        let values = self.output.values();
        if values > MAX_OUTPUT_VALUES {
            return refuse(format!("output.shape {:?}: more than {MAX_OUTPUT_VALUES} values", self.output.shape));
        }
        let sides = 1..=4096;
        if !sides.contains(&self.camera.width) || !sides.contains(&self.camera.height) {
            return refuse("camera.width and camera.height: a frame has 1 to 4096 pixels a side".into());
        }
        match &self.feeding {
            Feeding::Table { table } if table.len() != 256 => {
                return refuse("feeding.table must have 256 values".into());
            }
            _ => {}
        }
        if self.arena_bytes == 0 || !self.arena_bytes.is_multiple_of(16) {
            return refuse(format!("arena_bytes {} is not a multiple of 16", self.arena_bytes));
        }
        self.decision.map_or(Ok(()), |decision| decision.check(values))
    }
}

impl Decision {
    /// For a model whose output has this many values.
    fn check(&self, values: u64) -> Result<(), Refused> {
        let refuse = |reason: String| Err(Refused(format!("contract.json: decision.{reason}")));
        if !matches!(self.outputs, 1 | 2) || values != u64::from(self.outputs) {
            return refuse(format!("outputs is {}, the model gives {values} values", self.outputs));
        }
        let scores = -255..=255;
        for (name, score) in [("enter", self.enter), ("leave", self.leave)] {
            if !scores.contains(&score) {
                return refuse(format!("{name} {score}: a score lies between -255 and 255"));
            }
        }
        if self.leave > self.enter {
            return refuse("leave is above decision.enter".into());
        }
        for (name, frames) in [("enter_frames", self.enter_frames), ("leave_frames", self.leave_frames)] {
            if frames == 0 {
                return refuse(format!("{name} is 0: frames in a row start at 1"));
            }
        }
        if self.stale_after_ms == 0 {
            return refuse("stale_after_ms is 0: every answer would be stale".into());
        }
        Ok(())
    }
}

impl Tensor {
    fn check(&self, name: &str) -> Result<(), Refused> {
        let refuse = |reason: String| Err(Refused(format!("contract.json: {name}.{reason}")));
        if self.shape.is_empty() || self.shape.len() > 6 || self.shape.iter().any(|n| *n < 1) {
            return refuse(format!("shape {:?}: 1 to 6 dimensions, each at least 1", self.shape));
        }
        if !(self.scale.is_finite() && self.scale > 0.0) || f64::from(self.scale as f32) != self.scale {
            return refuse(format!("scale {} is no positive float32", self.scale));
        }
        let range = match self.element {
            Element::Int8 => -128..=127,
            Element::Uint8 => 0..=255,
        };
        if !range.contains(&self.zero_point) {
            return refuse(format!("zero_point {} does not fit {:?}", self.zero_point, self.element));
        }
        Ok(())
    }

    /// Number of values, which is the number of bytes; of more than fit, the most that do.
    pub fn values(&self) -> u64 {
        self.shape.iter().fold(1, |values: u64, n| values.saturating_mul(u64::try_from(*n).unwrap_or(0)))
    }
}
