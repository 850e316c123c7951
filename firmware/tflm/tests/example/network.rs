// The small model in firmware/model/example as a network, for tests and for doctests, which include this file.

/// Declares the network `$name` over the example model: with these types, facts and kernels it is right or wrong.
macro_rules! network {
    ($name:ident, input: $input:ty, scale: $scale:expr) => {
        network!($name, input: $input, scale: $scale,
            ops: [ADD, AVERAGE_POOL_2D, CONV_2D, DEPTHWISE_CONV_2D, LOGISTIC], slots: 5);
    };
    ($name:ident, input: $input:ty, scale: $scale:expr, ops: [$($op:ident),*], slots: $slots:expr) => {
        network!($name, input: $input, scale: $scale, ops: [$($op),*], slots: $slots, skip: 0);
    };
    ($name:ident, input: $input:ty, scale: $scale:expr, ops: [$($op:ident),*],
     slots: $slots:expr, skip: $skip:expr) => {
        struct $name;

        impl tflm::Network for $name {
            #[allow(long_running_const_eval)]
            const MODEL: tflm::Model<'static> = {
                const FILE: &[u8] =
                    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../model/example/model.tflite"));
                #[repr(C, align(16))]
                struct Placed([u8; $skip], [u8; FILE.len()]);
                static PLACED: Placed = Placed(
                    [0; $skip],
                    *include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../model/example/model.tflite")),
                );
                match tflm::Model::check(&PLACED.1) {
                    Ok(model) => model,
                    Err(_) => panic!("the example model is sound"),
                }
            };
            const OPS: &'static [tflm::Op] = &[$(tflm::ops::$op),*];
            type Input = $input;
            type Output = [i8; 1];
            type Slots = [tflm::SlotMemory; $slots];
            const INPUT: tflm::TensorFacts = tflm::TensorFacts::new(tflm::Element::I8, &[1, 24, 32, 1], $scale, -128);
            const OUTPUT: tflm::TensorFacts =
                tflm::TensorFacts::new(tflm::Element::I8, &[1, 1, 1, 1], 1.0 / 256.0, -128);
        }
    };
}
