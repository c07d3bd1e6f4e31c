//! How chains grow: an element-wise node takes in the element-wise node before it. This comes last, after what folds into convolutions.

use super::{Elementwise, Step};
use crate::error::Result;
use crate::graph::{Rewriter, Value};
use crate::op::Op;
use crate::ops::add::Add;
use crate::ops::broadcast_add::BroadcastAdd;
use crate::ops::gelu::Gelu;
use crate::ops::mul::{Mul, MulRows};
use crate::ops::relu::Relu;
use crate::ops::scale::Scale;
use crate::ops::sigmoid::Sigmoid;
use crate::ops::support::elementwise::Map;
use crate::ops::tanh::Tanh;

/// A node as steps: what goes in, x first, and what happens to it.
#[derive(Clone)]
struct Chain {
    inputs: Vec<Value>,
    steps: Vec<Step>,
}

/// Joins the node with the one that makes its x, where both are element-wise and nobody else reads that.
pub fn absorb(graph: &mut Rewriter, index: usize) -> Result<bool> {
    let Some(chain) = chain(graph, index) else { return Ok(false) };
    for chain in [Some(chain.clone()), turned(graph, chain)].into_iter().flatten() {
        if let Some(before) = before(graph, chain.inputs[0], index) {
            let inputs = [&before.inputs, &chain.inputs[1..]].concat();
            graph.replace(index, Elementwise { steps: [before.steps, chain.steps].concat() }, &inputs)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The chain that makes a value for the node with this index alone, where it may run there. What depends on weights alone is left: it is
/// computed once, and not at each run.
fn before(graph: &Rewriter, x: Value, index: usize) -> Option<Chain> {
    let maker = graph.maker_for_one(x)?;
    let chain = chain(graph, maker)?;
    (graph.may_wait(maker, index) && !graph.is_constant(x)).then_some(chain)
}

fn chain(graph: &Rewriter, index: usize) -> Option<Chain> {
    let node = graph.node(index);
    let steps = match node.op.downcast::<Elementwise>() {
        Some(op) => op.steps.clone(),
        None => vec![step(&*node.op)?],
    };
    Some(Chain { inputs: node.inputs.clone(), steps })
}

/// The chain with its first two operands exchanged, where it starts with their sum or product.
fn turned(graph: &Rewriter, mut chain: Chain) -> Option<Chain> {
    let commutes = matches!(chain.steps.first(), Some(Step::Add | Step::Mul)) && graph.ty(chain.inputs[0]) == graph.ty(chain.inputs[1]);
    commutes.then(|| {
        chain.inputs.swap(0, 1);
        chain
    })
}

/// An operator as a step, if it can be one.
fn step(op: &dyn Op) -> Option<Step> {
    let unary = [
        op.downcast::<Map<Relu>>().map(|_| Step::Relu),
        op.downcast::<Map<Gelu>>().map(|_| Step::Gelu),
        op.downcast::<Map<Tanh>>().map(|_| Step::Tanh),
        op.downcast::<Map<Sigmoid>>().map(|_| Step::Sigmoid),
        op.downcast::<Map<Scale>>().map(|map| Step::Scale(map.0.factor)),
    ];
    let binary = [
        op.downcast::<Add>().map(|_| Step::Add),
        op.downcast::<BroadcastAdd>().map(|_| Step::Add),
        op.downcast::<Mul>().map(|_| Step::Mul),
        op.downcast::<MulRows>().map(|_| Step::MulRows),
    ];
    unary.into_iter().chain(binary).flatten().next()
}
