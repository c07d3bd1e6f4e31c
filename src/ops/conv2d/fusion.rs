//! What a convolution absorbs in inference: the sum with a residual, and ReLU. Batch normalisation folds into its filters in
//! `batchnorm`, before.

use super::Conv2d;
use crate::error::Result;
use crate::graph::{Rewriter, Value};
use crate::ops::add::Add;
use crate::ops::linear::Activation;
use crate::ops::relu::Relu;
use crate::ops::support::elementwise::Map;

/// Turns a sum or a ReLU that is the only reader of a convolution into a convolution.
pub fn absorb(graph: &mut Rewriter, index: usize) -> Result<bool> {
    let inputs = graph.node(index).inputs.clone();
    if graph.op::<Map<Relu>>(index).is_some()
        && let Some((conv, op)) = plain(graph, inputs[0], index)
    {
        let inputs = graph.node(conv).inputs.clone();
        graph.replace(index, Conv2d { activation: Activation::Relu, ..op }, &inputs)?;
        return Ok(true);
    }
    if graph.op::<Add>(index).is_none() {
        return Ok(false);
    }
    for (summand, residual) in [(inputs[0], inputs[1]), (inputs[1], inputs[0])] {
        if let Some((conv, op)) = plain(graph, summand, index).filter(|(_, op)| !op.residual) {
            let inputs: Vec<Value> = graph.node(conv).inputs.iter().copied().chain([residual]).collect();
            graph.replace(index, Conv2d { residual: true, ..op }, &inputs)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The convolution without an activation that makes a value for one reader only, and may as well run where that one stands.
fn plain(graph: &Rewriter, value: Value, reader: usize) -> Option<(usize, Conv2d)> {
    let (conv, &op) = graph.only_use_of::<Conv2d>(value)?;
    (op.activation == Activation::None && graph.may_wait(conv, reader)).then_some((conv, op))
}
