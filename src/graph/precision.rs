//! Lowers a graph to half precision: casts where operators compute in 16 bits, f32 where they must not.

use super::{Builder, Graph, Rules, Segment, Source, StateKind, Value, ValueInfo};
use crate::error::Result;
use crate::tensor::{DType, TensorType};
use std::collections::HashMap;

/// How an operator takes to half precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Computes in the low type, accumulating in f32: products, convolutions, attention.
    Low,
    /// Needs f32: losses, normalisation, reductions, optimizers.
    Full,
    /// Follows its inputs: low where all of them are, else f32; or the state that it updates.
    Follow,
}

/// The same graph computing in `low`. State keeps its type: parameters stay f32 masters, and their casts, being constant, are hoisted in
/// inference. Caches that no operator needs in f32 are kept in `low`. Named results come out as f32.
///
/// # Errors
/// Those of the operators' shape rules.
pub fn lower_precision(graph: &Graph, rules: &Rules, low: DType) -> Result<Graph> {
    if low == DType::F32 {
        return Ok(graph.clone());
    }
    let nodes = graph.nodes.clone();
    let mut builder = Builder::from(Graph { values: with_low_caches(graph, rules, low), nodes: Vec::new(), outputs: Vec::new() });
    let mut now: Vec<Value> = (0..graph.values.len() as u32).map(Value).collect();
    let mut casts = Casts::new();
    for node in &nodes {
        builder.replace_scope(if node.scope.is_empty() { Vec::new() } else { vec![node.scope.clone()] });
        builder.set_segment(node.segment);
        let updates = node.op.updates();
        let inputs: Vec<Value> = node.inputs.iter().map(|v| now[v.index()]).collect();
        let float = |b: &Builder, v: Value| b.dtype(v).is_float();
        let wanted = match (rules.precision)(node.op.stem()) {
            Precision::Low => low,
            Precision::Full => DType::F32,
            Precision::Follow => {
                // What is put into state takes the state's type.
                let state = updates.iter().map(|&i| inputs[i]).find(|&v| float(&builder, v));
                let mut floats = inputs.iter().filter(|&&v| state.map_or(float(&builder, v), |state| v == state)).peekable();
                if floats.peek().is_some() && floats.all(|&v| builder.dtype(v) == low) { low } else { DType::F32 }
            }
        };
        let mut cast_inputs = Vec::with_capacity(inputs.len());
        for (i, &v) in inputs.iter().enumerate() {
            let as_it_is = !float(&builder, v) || builder.dtype(v) == wanted || updates.contains(&i) || node.op.exact_inputs().contains(&i);
            cast_inputs.push(if as_it_is { v } else { cast(&mut builder, rules, &mut casts, v, wanted)? });
        }
        // State that this node changes must be cast anew by those who read it later.
        if !updates.is_empty() {
            let root = builder.graph().view_roots();
            casts.retain(|(v, _), _| updates.iter().all(|&i| root[v.index()] != inputs[i]));
        }
        let outputs = builder.apply_shared(node.op.clone(), &cast_inputs)?;
        for (&before, &after) in node.outputs.iter().zip(&outputs) {
            now[before.index()] = after;
        }
    }
    builder.replace_scope(Vec::new());
    let segments = segments(graph);
    for (name, before) in &graph.outputs {
        let v = now[before.index()];
        // Read by the host after the segment that makes it.
        builder.set_segment(segments[before.index()]);
        let v = if builder.dtype(v).is_float() { cast(&mut builder, rules, &mut casts, v, DType::F32)? } else { v };
        builder.output(name, v);
    }
    Ok(builder.finish())
}

/// The values, of which floating-point caches are in `low` where all that touches them, through views too, computes in it or follows.
fn with_low_caches(graph: &Graph, rules: &Rules, low: DType) -> Vec<ValueInfo> {
    let root = graph.view_roots();
    let mut is_low = vec![true; graph.values.len()];
    for node in graph.nodes.iter().filter(|n| (rules.precision)(n.op.stem()) == Precision::Full) {
        node.inputs.iter().for_each(|v| is_low[root[v.index()].index()] = false);
    }
    graph.outputs.iter().for_each(|(_, v)| is_low[root[v.index()].index()] = false);
    let mut values = graph.values.clone();
    for (v, info) in values.iter_mut().enumerate() {
        if info.source == Source::State(StateKind::Cache) && info.ty.dtype.is_float() && is_low[v] {
            info.ty = TensorType::new(low, info.ty.shape);
        }
    }
    values
}

/// Casts by what is cast and to what, with the segment that they are in.
type Casts = HashMap<(Value, DType), (Value, Segment)>;

/// For each value the segment in which it gets its content.
fn segments(graph: &Graph) -> Vec<Segment> {
    let mut segments = vec![Segment::Run; graph.values.len()];
    for node in &graph.nodes {
        let updated = node.op.updates().into_iter().filter_map(|i| node.inputs.get(i));
        node.outputs.iter().chain(updated).for_each(|v| segments[v.index()] = segments[v.index()].max(node.segment));
    }
    segments
}

/// `v` as `to`: itself, a cast that was made before and runs before, or a new one in the present segment.
fn cast(builder: &mut Builder, rules: &Rules, casts: &mut Casts, v: Value, to: DType) -> Result<Value> {
    if builder.dtype(v) == to {
        return Ok(v);
    }
    let segment = builder.segment();
    if let Some(&(known, _)) = casts.get(&(v, to)).filter(|(_, made)| *made <= segment) {
        return Ok(known);
    }
    let made = builder.apply_shared((rules.cast)(to), &[v])?.first().copied().unwrap_or(v);
    casts.insert((v, to), (made, segment));
    Ok(made)
}
