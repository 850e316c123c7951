//! Which TensorFlow Lite Micro a model is checked for.

/// Which TensorFlow Lite Micro will run a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Any of those in use here: upstream's of 2026, Espressif's with ESP-NN, and that of July 2020.
    Any,
    /// Upstream's of 2026, with its reference kernels or CMSIS-NN. It also runs these, on which one of the others would
    /// read or write outside a tensor or its own tables: optional inputs left out (-1), convolutions without a bias or
    /// in groups, fully connected layers with more than two output dimensions, one zero point for several scales, and
    /// operator codes that only the newer field holds.
    Upstream,
}

impl Engine {
    /// The one that this program is linked with.
    pub const LINKED: Self = if same_text(tflm_sys::REVISION, "upstream")
        && (same_text(tflm_sys::KERNELS, "reference") || same_text(tflm_sys::KERNELS, "cmsis-nn"))
    {
        Self::Upstream
    } else {
        Self::Any
    };
}

/// Whether both are the same (`==` is not const).
const fn same_text(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while let (Some((a, rest)), Some((b, others))) = (one.split_first(), other.split_first()) {
        if *a != *b {
            return false;
        }
        (one, other) = (rest, others);
    }
    one.is_empty() && other.is_empty()
}
