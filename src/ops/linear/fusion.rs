//! What products of linear layers absorb: the sum with a residual, also the one of `add_layernorm`, the derivative of the activation that made x, and a cast to f32 behind
//! what 16 bits gave.

use super::{Activation, Linear, LinearBackwardInput};
use crate::error::Result;
use crate::graph::{Rewriter, Value};
use crate::ops::add::Add;
use crate::ops::add_layernorm::AddLayerNorm;
use crate::ops::cast::Cast;
use crate::ops::gelu::Gelu;
use crate::ops::layernorm::LayerNorm;
use crate::ops::relu::Relu;
use crate::ops::support::elementwise::MapBackward;
use crate::tensor::DType;

/// Turns what is the only reader of a product into a product.
pub fn absorb(graph: &mut Rewriter, index: usize) -> Result<bool> {
    Ok(absorb_sum(graph, index)? || absorb_derivative(graph, index)? || absorb_cast(graph, index)?)
}

fn absorb_sum(graph: &mut Rewriter, index: usize) -> Result<bool> {
    let norm = graph.op::<AddLayerNorm>(index).copied();
    if norm.is_none() && graph.op::<Add>(index).is_none() {
        return Ok(false);
    }
    let inputs = graph.node(index).inputs.clone();
    for (summand, residual) in [(inputs[0], inputs[1]), (inputs[1], inputs[0])] {
        let Some((linear, op)) = plain(graph, summand, index) else { continue };
        let with: Vec<Value> = graph.node(linear).inputs.iter().copied().chain([residual]).collect();
        let op = Linear { residual: true, ..op };
        match norm {
            None => graph.replace(index, op, &with)?,
            Some(AddLayerNorm { eps }) => {
                let [y, sum, mean, rstd] = graph.node(index).outputs[..] else { return Ok(false) };
                graph.part(index, linear, (op, &with, &[sum]), (LayerNorm { eps }, &[sum, inputs[2], inputs[3]], &[y, mean, rstd]))?;
            }
        }
        return Ok(true);
    }
    Ok(false)
}

/// The linear layer without an activation and a residual that makes a value for one reader only, and may as well run where that one stands.
fn plain(graph: &Rewriter, value: Value, reader: usize) -> Option<(usize, Linear)> {
    let (linear, &op) = graph.only_use_of::<Linear>(value)?;
    let is_plain = op.activation == Activation::None && !op.residual && !op.wide;
    (is_plain && graph.may_wait(linear, reader)).then_some((linear, op))
}

fn absorb_derivative(graph: &mut Rewriter, index: usize) -> Result<bool> {
    let activation = match (graph.op::<MapBackward<Gelu>>(index), graph.op::<MapBackward<Relu>>(index)) {
        (Some(_), _) => Activation::Gelu,
        (_, Some(_)) => Activation::Relu,
        _ => return Ok(false),
    };
    let [dx, saved] = graph.node(index).inputs[..] else { return Ok(false) };
    let Some((product, &LinearBackwardInput { activation: Activation::None, wide: false })) = graph.only_use_of::<LinearBackwardInput>(dx) else {
        return Ok(false);
    };
    if !graph.may_wait(product, index) {
        return Ok(false);
    }
    let inputs: Vec<Value> = graph.node(product).inputs.iter().copied().chain([saved]).collect();
    graph.replace(index, LinearBackwardInput { activation, wide: false }, &inputs)?;
    Ok(true)
}

fn absorb_cast(graph: &mut Rewriter, index: usize) -> Result<bool> {
    if graph.op::<Cast>(index).is_none_or(|cast| cast.to != DType::F32) {
        return Ok(false);
    }
    let x = graph.node(index).inputs[0];
    let Some(maker) = graph.maker_for_one(x).filter(|&maker| graph.may_wait(maker, index)) else { return Ok(false) };
    let inputs = graph.node(maker).inputs.clone();
    if let Some(&op) = graph.op::<Linear>(maker).filter(|op| op.activation != Activation::Gelu && !op.residual) {
        graph.replace(index, Linear { wide: true, ..op }, &inputs)?;
    } else if let Some(&op) = graph.op::<LinearBackwardInput>(maker) {
        graph.replace(index, LinearBackwardInput { wide: true, ..op }, &inputs)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}
