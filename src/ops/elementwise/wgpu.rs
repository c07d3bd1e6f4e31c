//! The chain's launches: one, or more where it has more steps or operands than one takes.

use super::{Elementwise, Step};
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};

const SHADER: &str = shader!("common/in_place", "common/map", "elementwise");
/// Steps that a launch has parameters for.
const STEPS: usize = 16;
/// Second operands that a launch has bindings for.
const OPERANDS: usize = 6;

/// The steps of one launch.
#[derive(Default)]
struct Part {
    /// What the shader calls each, and the number of its second operand.
    kinds: Vec<&'static str>,
    numbers: Vec<String>,
    /// What else each needs.
    words: Vec<u32>,
    /// The second operands.
    operands: Vec<Operand>,
}

/// Adds the launches of the chain, cut where each piece has whole runs of the operands that are repeated.
pub fn launch(chain: &Elementwise, launch: &mut Launch) {
    let x = launch.ty(0);
    let binary = chain.steps.iter().filter(|step| step.is_binary());
    let run_of = |(i, step): (usize, &Step)| match step {
        Step::MulRows => x.shape.last().copied().unwrap_or(1),
        _ if launch.ty(i) == x => 1,
        _ => launch.ty(i).len(),
    };
    let run = (1..).zip(binary.clone()).map(run_of).fold(1, usize::max);
    let own = (1..).zip(binary).filter(|(i, step)| **step == Step::MulRows || launch.ty(*i) == x).map(|(i, _)| Operand::Input(i));
    let tensors: Vec<Operand> = [Operand::Input(0), Operand::Output(0)].into_iter().chain(own).collect();
    launch.in_pieces(x.len() / run.max(1), &tensors, |launch| add(chain, launch));
}

fn add(chain: &Elementwise, launch: &mut Launch) {
    let x = launch.ty(0);
    let (n, width) = (x.len(), x.shape.last().copied().unwrap_or(1));
    let mut inputs = 1..launch.inputs();
    let mut parts = vec![Part::default()];
    for &step in &chain.steps {
        let operand = if step.is_binary() { inputs.next() } else { None };
        let (kind, word) = match step {
            Step::Relu => ("RELU", 0),
            Step::Gelu => ("GELU", 0),
            Step::Tanh => ("TANH", 0),
            Step::Sigmoid => ("SIGMOID", 0),
            Step::Scale(factor) => ("SCALE", (factor as f32).to_bits()),
            Step::Add => ("ADD", operand.map_or(0, |i| launch.ty(i).len()) as u32),
            Step::Mul => ("MUL", operand.map_or(0, |i| launch.ty(i).len()) as u32),
            Step::MulRows => ("MUL_ROWS", width as u32),
        };
        let is_full = |part: &Part| part.kinds.len() == STEPS || (operand.is_some() && part.operands.len() == OPERANDS);
        if parts.last().is_some_and(is_full) {
            parts.push(Part::default());
        }
        if let Some(part) = parts.last_mut() {
            part.kinds.push(kind);
            part.numbers.push(format!("{}u", part.operands.len()));
            part.words.push(word);
            part.operands.extend(operand.map(Operand::Input));
        }
    }
    for (at, mut part) in parts.into_iter().enumerate() {
        // The launches behind the first go on with what it left.
        let in_place = at > 0 || launch.in_place(0);
        part.operands.resize(OPERANDS, Operand::Nothing);
        part.operands.splice(0..0, [if in_place { Operand::Nothing } else { Operand::Input(0) }, Operand::Output(0)]);
        let dispatch = Dispatch::new(SHADER, "elementwise_forward_f32", part.operands).constant("IN_PLACE", in_place);
        let dispatch = dispatch.constant("STEPS", format!("{}u", part.kinds.len()));
        let dispatch = dispatch.constant("KINDS", format!("array({})", part.kinds.join(", ")));
        let mut dispatch = dispatch.constant("OPERANDS", format!("array({})", part.numbers.join(", "))).over(n);
        part.words.resize(STEPS, 0);
        // The words begin at a multiple of 16 bytes.
        dispatch.parameters = [&[n as u32, 0, 0, 0], &part.words[..]].concat();
        launch.add(dispatch);
    }
}
