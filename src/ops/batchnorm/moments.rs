//! Training: a convolution leaves the moments of what it makes, and the normalisation behind it need not read that for its statistics. The convolution's result
//! stays what it was, for the normalisation and for the backward pass.

use super::BatchNormTraining;
use crate::error::Result;
use crate::graph::Rewriter;
use crate::ops::conv2d::Conv2d;

/// Gives a normalisation of a convolution the convolution's moments.
pub fn take_from_conv2d(graph: &mut Rewriter, index: usize) -> Result<bool> {
    let Some(&norm) = graph.op::<BatchNormTraining>(index).filter(|norm| !norm.moments) else { return Ok(false) };
    let mut of_norm = graph.node(index).inputs.clone();
    let Some((maker, &conv)) = graph.maker_of::<Conv2d>(of_norm[0]) else { return Ok(false) };
    if !conv.moments {
        let of_conv = graph.node(maker).inputs.clone();
        graph.replace(maker, Conv2d { moments: true, ..conv }, &of_conv)?;
    }
    of_norm.push(graph.node(maker).outputs[1]);
    graph.replace(index, BatchNormTraining { moments: true, ..norm }, &of_norm)?;
    Ok(true)
}
