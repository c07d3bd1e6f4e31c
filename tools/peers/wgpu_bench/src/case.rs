//! What is measured: an operator, its shape, a pass, and numbers to run it on.

use escnet::Result;

/// An operator with its extents.
#[derive(Clone, Copy)]
pub enum Op {
    /// `y = x w^T`: x [m, k], w [n, k].
    Linear { m: usize, k: usize, n: usize },
    /// Stride 1, output as large as the input: x [1, size, size, i], w [o, kernel, kernel, i].
    Conv { size: usize, i: usize, o: usize, kernel: usize },
    /// Self-attention without a mask: q, k, v [1, length, heads * width].
    Attention { length: usize, heads: usize, width: usize },
}

/// Which part of a training step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Forward,
    /// The gradients of all inputs, nothing of the forward pass.
    Backward,
    /// Both, where a peer cannot take them apart.
    Both,
}

#[derive(Clone, Copy)]
pub struct Case {
    pub op: Op,
    pub pass: Pass,
}

/// A tensor on the host, in the engine's layout.
pub struct Host {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// Something that can run one case again and again.
pub trait Subject {
    /// Runs once and waits for the device: milliseconds.
    fn time(&mut self) -> Result<f64>;
    /// What the last run left, as the engine lays it out: y, then the gradients in the order of the inputs.
    fn results(&mut self) -> Result<Vec<Vec<f32>>>;
}

/// Shapes of ESCNet-base: 384 px in patches of 16 and a class token, width 768; ResNet's first and last stages.
pub const CASES: [Case; 11] = {
    const fn case(op: Op, pass: Pass) -> Case {
        Case { op, pass }
    }
    const THREE: Op = Op::Conv { size: 56, i: 64, o: 64, kernel: 3 };
    const ONE: Op = Op::Conv { size: 56, i: 256, o: 64, kernel: 1 };
    const LAST: Op = Op::Conv { size: 7, i: 512, o: 512, kernel: 3 };
    const HEADS: Op = Op::Attention { length: 577, heads: 12, width: 64 };
    [
        case(Op::Linear { m: 577, k: 768, n: 768 }, Pass::Forward),
        case(Op::Linear { m: 577, k: 768, n: 3072 }, Pass::Forward),
        case(Op::Linear { m: 577, k: 3072, n: 768 }, Pass::Forward),
        case(THREE, Pass::Forward),
        case(ONE, Pass::Forward),
        case(LAST, Pass::Forward),
        case(THREE, Pass::Backward),
        case(ONE, Pass::Backward),
        case(LAST, Pass::Backward),
        case(HEADS, Pass::Forward),
        case(HEADS, Pass::Both),
    ]
};

impl Case {
    pub fn op(&self) -> &'static str {
        match self.op {
            Op::Linear { .. } => "linear",
            Op::Conv { .. } => "conv2d",
            Op::Attention { .. } => "attention",
        }
    }

    pub fn shape(&self) -> String {
        match self.op {
            Op::Linear { m, k, n } => format!("{m}x{k} {n}x{k}"),
            Op::Conv { size, i, o, kernel } => format!("1x{size}x{size}x{i} {o}x{kernel}x{kernel}x{i}"),
            Op::Attention { length, heads, width } => format!("{length} keys {heads} heads of {width}"),
        }
    }

    pub fn pass(&self) -> &'static str {
        match self.pass {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
            Pass::Both => "forward+backward",
        }
    }

    /// The inputs, the output's gradient last where there is a backward pass.
    pub fn inputs(&self) -> Vec<Host> {
        let (inputs, y) = match self.op {
            Op::Linear { m, k, n } => (vec![("x", vec![m, k]), ("w", vec![n, k])], vec![m, n]),
            Op::Conv { size, i, o, kernel } => (vec![("x", vec![1, size, size, i]), ("w", vec![o, kernel, kernel, i])], vec![1, size, size, o]),
            Op::Attention { length, heads, width } => {
                let all = vec![1, length, heads * width];
                (vec![("q", all.clone()), ("k", all.clone()), ("v", all.clone())], all)
            }
        };
        let gradient = (self.pass != Pass::Forward).then_some(("dy", y));
        inputs.into_iter().chain(gradient).enumerate().map(|(seed, (name, shape))| Host::new(name, shape, seed as u64)).collect()
    }
}

impl Host {
    /// Evenly spread in [-2, 2): wide enough for scores of attention that differ.
    fn new(name: &'static str, shape: Vec<usize>, seed: u64) -> Self {
        let mut state = seed;
        let mut next = || {
            // splitmix64
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / (1 << 22) as f32 - 2.0
        };
        let data = (0..shape.iter().product()).map(|_| next()).collect();
        Host { name, shape, data }
    }
}
