//! A sound net, changed in one respect: what becomes of it.

use tflm::model::{Engine, Model, ModelErrorKind as Kind};

use super::{Net, Operator, Table, Tensor, Value, convolution};

pub type Outcome = Result<(), Kind>;

pub const SHAPE: Outcome = Err(Kind::OperandShape);
pub const TYPE: Outcome = Err(Kind::OperandType);
pub const VALUE: Outcome = Err(Kind::OptionValue);
pub const ARITY: Outcome = Err(Kind::Arity);

/// The verdict on a file for any engine.
pub fn judged_file(file: &[u8]) -> Outcome {
    match (Model::check_for(file, Engine::Any), Model::check_for(file, Engine::Upstream)) {
        (Ok(_), Err(error)) => panic!("upstream's engine should allow more, not less: {error}"),
        (Ok(_), Ok(_)) => Ok(()),
        (Err(error), _) => Err(error.kind),
    }
}

/// The verdict on a net.
pub fn judged(net: &Net) -> Outcome {
    judged_file(&net.file())
}

/// What becomes of a sound net when it is changed.
pub fn changed(sound: &Net, change: impl FnOnce(&mut Net)) -> Outcome {
    let mut net = sound.clone();
    assert_eq!(judged(&net), Ok(()), "before the change");
    change(&mut net);
    judged(&net)
}

/// What becomes of a convolution when it is changed.
pub fn net(change: impl FnOnce(&mut Net)) -> Outcome {
    changed(&convolution(), change)
}

/// As `net`, for what a net cannot say.
pub fn tree(change: impl FnOnce(&mut Table)) -> Outcome {
    let mut tree = convolution().tree();
    change(&mut tree);
    judged_file(&tree.file())
}

pub fn main_subgraph(tree: &mut Table) -> &mut Table {
    &mut tree.tables(8)[0]
}

pub fn first_tensor(tree: &mut Table) -> &mut Table {
    &mut main_subgraph(tree).tables(4)[0]
}

pub fn first_operator(tree: &mut Table) -> &mut Table {
    &mut main_subgraph(tree).tables(10)[0]
}

pub fn tensor(net: &mut Net, index: usize) -> &mut Tensor {
    &mut net.tensors[index]
}

pub fn only(net: &mut Net) -> &mut Operator {
    &mut net.operators[0]
}

/// Another shape; constants have enough data for it, and one scale.
pub fn shape(index: usize, shape: &[i32]) -> impl FnOnce(&mut Net) {
    move |net| {
        let tensor = tensor(net, index);
        tensor.shape = shape.to_vec();
        tensor.dimension = 0;
        tensor.scales.truncate(1);
        tensor.zero_points.truncate(1);
        if tensor.data.is_some() {
            tensor.data = Some(vec![1; 4 * shape.iter().product::<i32>() as usize]);
        }
    }
}

/// Another type; constants have enough data for it.
pub fn element(index: usize, element: u8) -> impl FnOnce(&mut Net) {
    move |net| {
        let tensor = tensor(net, index);
        tensor.element = element;
        if let Some(data) = &mut tensor.data {
            data.resize(data.len() * 8, 0);
        }
    }
}

/// Another value of an option of the only operator.
pub fn option(slot: usize, value: Value) -> impl FnOnce(&mut Net) {
    move |net| only(net).option(slot, value)
}
