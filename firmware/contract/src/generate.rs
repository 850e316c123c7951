//! The contract as the Rust source of the crate `model`.

use std::fmt::Write as _;

use crate::{Contract, Element, Feeding, Tensor};

/// Source of the crate `model`; expects `model.tflite` beside the file that holds it.
///
/// All that the firmware knows of the model is written here and compared with the model itself when this compiles.
pub fn generate(contract: &Contract) -> String {
    let Contract { model, operators, input, output, camera, arena_bytes, .. } = contract;
    let ops: Vec<String> = operators.iter().map(|name| format!("tflm::ops::{name}")).collect();
    let &[_, height, width, channels] = input.shape.as_slice() else {
        return "compile_error!(\"the contract was not checked: its input has not four dimensions\");".to_owned();
    };
    let mut text = format!(
        "/// The network that this firmware runs.\n\
         pub struct Person;\n\n\
         /// SHA-256 (hex) of the model.\n\
         pub const MODEL_SHA256: &str = \"{sha256}\";\n\
         /// Bytes of the tensor arena.\n\
         pub const ARENA_BYTES: usize = {arena_bytes};\n\
         /// Sizes of the camera's frame and of the network's input.\n\
         pub const GEOMETRY: detector::Geometry = detector::Geometry {{ camera_width: {cw}, camera_height: {ch}, \
         width: {w}, height: {h}, channels: {c} }};\n",
        sha256 = model.sha256,
        cw = camera.width,
        ch = camera.height,
        w = width,
        h = height,
        c = channels,
    );
    let _ = writeln!(
        text,
        "/// How gray levels become input bytes.\npub const FEEDING: detector::Feeding = detector::Feeding::{};",
        match &contract.feeding {
            Feeding::Flip {} => "Flip".to_owned(),
            Feeding::Same {} => "Same".to_owned(),
            Feeding::Table { table } => format!("Table(&{table:?})"),
        }
    );
    let decision = contract.decision.map_or("None".to_owned(), |d| {
        format!(
            "Some(detector::Decision {{ outputs: detector::Outputs::{}, signed: {}, enter: {}, leave: {}, \
             enter_frames: {}, leave_frames: {}, stale_after_ms: {} }})",
            if d.outputs == 1 { "One" } else { "Two" },
            output.element == Element::Int8,
            d.enter,
            d.leave,
            d.enter_frames,
            d.leave_frames,
            d.stale_after_ms
        )
    });
    let _ = writeln!(
        text,
        "/// When a person counts as seen.\npub const DECISION: Option<detector::Decision> = {decision};\n\n\
         #[repr(C, align(16))]\n\
         struct Aligned<T>(T);\n\n\
         // In a section of its own: boards may give weights another memory, and the size report names it.\n\
         // On Xtensa in .rodata's: esp-hal maps flash by that section alone.\n\
         #[cfg_attr(target_arch = \"arm\", unsafe(link_section = \".model\"))]\n\
         #[cfg_attr(target_arch = \"xtensa\", unsafe(link_section = \".rodata.model\"))]\n\
         static BYTES: Aligned<[u8; {bytes}]> = Aligned(*include_bytes!(\"model.tflite\"));\n\n\
         const OPS: &[tflm::Op] = &[{ops}];\n\n\
         impl tflm::Network for Person {{\n    \
             #[allow(long_running_const_eval)]\n    \
             const MODEL: tflm::Model<'static> = {{\n        \
                 let model = tflm::Model::require(&BYTES.0, &Self::INPUT, &Self::OUTPUT);\n        \
                 assert!(tflm::resolves(&model, OPS), \"the model uses an operator that the contract does not list\");\n        \
                 model\n    \
             }};\n    \
             const OPS: &'static [tflm::Op] = OPS;\n    \
             type Input = [{input_type}; {input_len}];\n    \
             type Output = [{output_type}; {output_len}];\n    \
             type Slots = [tflm::SlotMemory; {count}];\n    \
             const INPUT: tflm::TensorFacts = {input_facts};\n    \
             const OUTPUT: tflm::TensorFacts = {output_facts};\n\
         }}",
        bytes = model.bytes,
        ops = ops.join(", "),
        input_type = rust_type(input),
        input_len = input.values(),
        output_type = rust_type(output),
        output_len = output.values(),
        count = operators.len(),
        input_facts = facts(input),
        output_facts = facts(output),
    );
    text
}

fn rust_type(tensor: &Tensor) -> &'static str {
    match tensor.element {
        Element::Int8 => "i8",
        Element::Uint8 => "u8",
    }
}

fn facts(tensor: &Tensor) -> String {
    let element = match tensor.element {
        Element::Int8 => "I8",
        Element::Uint8 => "U8",
    };
    // By bits: no decimal fraction in between that could round.
    let scale = (tensor.scale as f32).to_bits();
    format!(
        "tflm::TensorFacts::new(tflm::Element::{element}, &{:?}, f32::from_bits({scale:#x}), {})",
        tensor.shape, tensor.zero_point
    )
}
