//! The chain's launches: one, or more where it has more steps or operands than one takes.

use super::{Elementwise, Step};
use crate::device::cuda::{Dispatch, Image, Launch, Operand, image};

static KERNELS: Image = image!("elementwise");
/// Steps that a launch has room for.
const STEPS: usize = 16;
/// Second operands that a launch has parameters for.
const OPERANDS: usize = 6;

/// The steps of one launch.
#[derive(Default)]
struct Part {
    /// What the kernel calls each, the number of its second operand, and what else it needs.
    steps: Vec<[usize; 3]>,
    operands: Vec<Operand>,
}

/// Adds the launches of the chain.
pub fn launch(chain: &Elementwise, launch: &mut Launch) {
    let x = launch.ty(0);
    let (n, width) = (x.len(), x.shape.last().copied().unwrap_or(1));
    let mut inputs = 1..launch.inputs();
    let mut parts = vec![Part::default()];
    for &step in &chain.steps {
        let operand = if step.is_binary() { inputs.next() } else { None };
        let len = operand.map_or(0, |i| launch.ty(i).len());
        let (kind, word) = match step {
            Step::Relu => (0, 0),
            Step::Gelu => (1, 0),
            Step::Tanh => (2, 0),
            Step::Sigmoid => (3, 0),
            Step::Scale(factor) => (4, (factor as f32).to_bits() as usize),
            Step::Add => (5, len),
            Step::Mul => (6, len),
            Step::MulRows => (7, width),
        };
        let is_full = |part: &Part| part.steps.len() == STEPS || (operand.is_some() && part.operands.len() == OPERANDS);
        if parts.last().is_some_and(is_full) {
            parts.push(Part::default());
        }
        if let Some(part) = parts.last_mut() {
            part.steps.push([kind, if operand.is_some() { part.operands.len() } else { 0 }, word]);
            part.operands.extend(operand.map(Operand::Input));
        }
    }
    for (at, mut part) in parts.into_iter().enumerate() {
        let count = part.steps.len();
        part.steps.resize(STEPS, [0; 3]);
        let chain = launch.table((0..3).flat_map(|k| part.steps.iter().map(move |step| step[k])).chain([count]).collect());
        part.operands.resize(OPERANDS, Operand::Nothing);
        // The launches behind the first go on with what it left.
        let from = if at == 0 { Operand::Input(0) } else { Operand::Output(0) };
        let dispatch = Dispatch::new(&KERNELS, format!("elementwise_forward_{}", launch.dtype())).tensors([from]).tensors(part.operands);
        launch.add(dispatch.tensors([Operand::Output(0)]).count(n).tensors([chain]).over_fours(n));
    }
}
