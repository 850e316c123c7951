//! Writes small models, sound ones and others: a table is written as it is described, whatever sense it makes.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::indexing_slicing, reason = "of what was written a moment before")]

pub mod changes;

/// What a field of a table holds.
#[derive(Clone)]
pub enum Value {
    U8(u8),
    I32(i32),
    U64(u64),
    Text(&'static str),
    Bytes(Vec<u8>),
    /// Bytes that begin this many bytes behind a multiple of 16.
    BytesAt(usize, Vec<u8>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    I64s(Vec<i64>),
    Table(Table),
    Tables(Vec<Table>),
}

/// A flatbuffer table: the byte offset of each field's entry in the field list, as in schema_generated.h, and its
/// value.
#[derive(Clone, Default)]
pub struct Table(pub Vec<(usize, Value)>);

impl Table {
    /// Sets a field, or sets it anew.
    pub fn set(&mut self, slot: usize, value: Value) -> &mut Self {
        self.0.retain(|(known, _)| *known != slot);
        self.0.push((slot, value));
        self
    }

    pub fn remove(&mut self, slot: usize) {
        self.0.retain(|(known, _)| *known != slot);
    }

    /// The tables in a field that has them.
    pub fn tables(&mut self, slot: usize) -> &mut Vec<Table> {
        match self.0.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, Value::Tables(tables))) => tables,
            _ => panic!("no tables in slot {slot}"),
        }
    }

    /// The file whose root this table is.
    pub fn file(&self) -> Vec<u8> {
        let mut file = vec![0, 0, 0, 0, b'T', b'F', b'L', b'3'];
        let root = write_table(&mut file, self);
        point(&mut file, 0, root);
        file
    }
}

fn align(file: &mut Vec<u8>, to: usize, after: usize) {
    while !(file.len() + after).is_multiple_of(to) {
        file.push(0);
    }
}

fn point(file: &mut [u8], from: usize, to: usize) {
    file[from..from + 4].copy_from_slice(&((to - from) as u32).to_le_bytes());
}

/// The fields' list, the table, then what its offsets lead to; returns where the table is.
fn write_table(file: &mut Vec<u8>, table: &Table) -> usize {
    let mut entries = vec![0_u16; table.0.iter().map(|(slot, _)| slot / 2 - 1).max().unwrap_or(0)];
    let mut inline = vec![0_u8; 4]; // the way back to the list comes first
    for (slot, value) in &table.0 {
        let bytes = match value {
            Value::U8(number) => number.to_le_bytes().to_vec(),
            Value::I32(number) => number.to_le_bytes().to_vec(),
            Value::U64(number) => number.to_le_bytes().to_vec(),
            _ => vec![0; 4],
        };
        align(&mut inline, bytes.len(), 0);
        entries[slot / 2 - 2] = inline.len() as u16;
        inline.extend(bytes);
    }
    align(file, 8, 4 + 2 * entries.len());
    let list = file.len();
    file.extend(((4 + 2 * entries.len()) as u16).to_le_bytes());
    file.extend((inline.len() as u16).to_le_bytes());
    file.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    let at = file.len();
    inline[..4].copy_from_slice(&((at - list) as i32).to_le_bytes());
    file.extend(inline);
    for (slot, value) in &table.0 {
        if !matches!(value, Value::U8(_) | Value::I32(_) | Value::U64(_)) {
            let target = write_target(file, value);
            point(file, at + usize::from(entries[slot / 2 - 2]), target);
        }
    }
    at
}

fn write_target(file: &mut Vec<u8>, value: &Value) -> usize {
    let (count, alignment, bytes) = match value {
        Value::Table(table) => return write_table(file, table),
        Value::Tables(tables) => {
            align(file, 4, 0);
            let at = file.len();
            file.extend((tables.len() as u32).to_le_bytes());
            file.resize(at + 4 + 4 * tables.len(), 0);
            for (index, table) in tables.iter().enumerate() {
                let target = write_table(file, table);
                point(file, at + 4 + 4 * index, target);
            }
            return at;
        }
        Value::Text(text) => (text.len(), 4, [text.as_bytes(), &[0]].concat()),
        Value::Bytes(bytes) => (bytes.len(), 16, bytes.clone()),
        Value::BytesAt(place, bytes) => {
            align(file, 16, 4);
            file.resize(file.len() + place, 0);
            (bytes.len(), 1, bytes.clone())
        }
        Value::I32s(numbers) => (numbers.len(), 4, numbers.iter().flat_map(|number| number.to_le_bytes()).collect()),
        Value::F32s(numbers) => (numbers.len(), 4, numbers.iter().flat_map(|number| number.to_le_bytes()).collect()),
        Value::I64s(numbers) => (numbers.len(), 8, numbers.iter().flat_map(|number| number.to_le_bytes()).collect()),
        Value::U8(_) | Value::I32(_) | Value::U64(_) => unreachable!("written inside its table"),
    };
    align(file, alignment, 4);
    let at = file.len();
    file.extend((count as u32).to_le_bytes());
    file.extend(bytes);
    at
}

pub const FLOAT32: u8 = 0;
pub const INT32: u8 = 2;
pub const INT64: u8 = 4;
pub const BOOL: u8 = 6;
pub const INT16: u8 = 7;
pub const COMPLEX64: u8 = 8;
pub const INT8: u8 = 9;
pub const INT4: u8 = 17;

/// A tensor of a [`Net`].
#[derive(Clone)]
pub struct Tensor {
    pub shape: Vec<i32>,
    pub element: u8,
    pub scales: Vec<f32>,
    pub zero_points: Vec<i64>,
    pub dimension: i32,
    pub data: Option<Vec<u8>>,
    pub variable: bool,
}

/// An activation of int8.
pub fn live(shape: &[i32]) -> Tensor {
    let (scales, zero_points) = (vec![0.05], vec![0]);
    Tensor { shape: shape.to_vec(), element: INT8, scales, zero_points, dimension: 0, data: None, variable: false }
}

/// A constant of int8.
pub fn weights(shape: &[i32]) -> Tensor {
    let bytes = shape.iter().product::<i32>() as usize;
    Tensor { data: Some(vec![1; bytes]), ..live(shape) }
}

/// A constant list of int32 without quantization.
pub fn numbers(shape: &[i32], values: &[i32]) -> Tensor {
    let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor { element: INT32, scales: vec![], zero_points: vec![], data: Some(data), ..live(shape) }
}

impl Tensor {
    pub fn of(self, element: u8) -> Self {
        Self { element, ..self }
    }
}

/// An operator of a [`Net`].
#[derive(Clone)]
pub struct Operator {
    pub code: i32,
    pub inputs: Vec<i32>,
    pub outputs: Vec<i32>,
    /// Type in `BuiltinOptions`, and the options.
    pub options: Option<(u8, Table)>,
}

pub fn operator(code: i32, inputs: &[i32], outputs: &[i32]) -> Operator {
    Operator { code, inputs: inputs.to_vec(), outputs: outputs.to_vec(), options: None }
}

impl Operator {
    pub fn with(self, options_type: u8, fields: Vec<(usize, Value)>) -> Self {
        Self { options: Some((options_type, Table(fields))), ..self }
    }

    pub fn option(&mut self, slot: usize, value: Value) {
        self.options.get_or_insert_with(|| (0, Table::default())).1.set(slot, value);
    }
}

/// A model.
#[derive(Clone)]
pub struct Net {
    pub tensors: Vec<Tensor>,
    pub operators: Vec<Operator>,
    pub inputs: Vec<i32>,
    pub outputs: Vec<i32>,
}

impl Net {
    pub fn new(tensors: Vec<Tensor>, operators: Vec<Operator>, input: i32, output: i32) -> Self {
        Self { tensors, operators, inputs: vec![input], outputs: vec![output] }
    }

    /// The model's root table.
    pub fn tree(&self) -> Table {
        let mut buffers = vec![Table::default()];
        let tensors = self.tensors.iter().map(|tensor| tensor_table(tensor, &mut buffers)).collect();
        let operators = self.operators.iter().enumerate().map(|(index, operator)| {
            let mut table = Table(vec![
                (4, Value::I32(index as i32)),
                (6, Value::I32s(operator.inputs.clone())),
                (8, Value::I32s(operator.outputs.clone())),
            ]);
            if let Some((options_type, options)) = &operator.options {
                table.set(10, Value::U8(*options_type)).set(12, Value::Table(options.clone()));
            }
            table
        });
        let codes = self
            .operators
            .iter()
            .map(|operator| Table(vec![(4, Value::U8(operator.code.min(127) as u8)), (10, Value::I32(operator.code))]));
        let main = Table(vec![
            (4, Value::Tables(tensors)),
            (6, Value::I32s(self.inputs.clone())),
            (8, Value::I32s(self.outputs.clone())),
            (10, Value::Tables(operators.collect())),
            (12, Value::Text("main")),
        ]);
        Table(vec![
            (4, Value::I32(3)),
            (6, Value::Tables(codes.collect())),
            (8, Value::Tables(vec![main])),
            (12, Value::Tables(buffers)),
        ])
    }

    pub fn file(&self) -> Vec<u8> {
        self.tree().file()
    }
}

fn tensor_table(tensor: &Tensor, buffers: &mut Vec<Table>) -> Table {
    let mut table = Table(vec![
        (4, Value::I32s(tensor.shape.clone())),
        (6, Value::U8(tensor.element)),
        (10, Value::Text("tensor")),
        (14, Value::U8(tensor.variable.into())),
    ]);
    if let Some(data) = &tensor.data {
        table.set(8, Value::I32(buffers.len() as i32));
        buffers.push(Table(vec![(4, Value::Bytes(data.clone()))]));
    }
    if !tensor.scales.is_empty() || !tensor.zero_points.is_empty() {
        let quantization = Table(vec![
            (8, Value::F32s(tensor.scales.clone())),
            (10, Value::I64s(tensor.zero_points.clone())),
            (16, Value::I32(tensor.dimension)),
        ]);
        table.set(12, Value::Table(quantization));
    }
    table
}

/// A 1x1 convolution of 2 to 3 channels over 4x4 positions, one scale per output channel: x, filter, bias, y.
pub fn convolution() -> Net {
    let mut filter = weights(&[3, 1, 1, 2]);
    (filter.scales, filter.zero_points) = (vec![0.01, 0.02, 0.03], vec![0; 3]);
    let bias = Tensor { scales: vec![0.1; 3], zero_points: vec![0; 3], ..numbers(&[3], &[1, 2, 3]) };
    let stride = vec![(4, Value::U8(0)), (6, Value::I32(1)), (8, Value::I32(1))];
    let tensors = vec![live(&[1, 4, 4, 2]), filter, bias, live(&[1, 4, 4, 3])];
    Net::new(tensors, vec![operator(3, &[0, 1, 2], &[3]).with(1, stride)], 0, 3)
}

/// A net of one operator without options: the first tensor is its live input, the last its output.
pub fn single(code: i32, tensors: Vec<Tensor>) -> Net {
    let last = tensors.len() as i32 - 1;
    let inputs: Vec<i32> = (0..last).collect();
    Net::new(tensors, vec![operator(code, &inputs, &[last])], 0, last)
}
