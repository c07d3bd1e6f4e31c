//! Reverse-mode differentiation: appends the nodes that compute gradients.

use super::{Builder, Node, Rules, Value};
use crate::error::{Error, Result};
use crate::op::Op;

/// One node as its operator's backward rule sees it.
pub struct Backward<'a> {
    builder: &'a mut Builder,
    node: &'a Node,
    grads: Vec<Option<Value>>,
    needs: Vec<bool>,
    found: Vec<Option<Value>>,
}

impl Backward<'_> {
    /// The graph, to append to.
    pub fn builder(&mut self) -> &mut Builder {
        self.builder
    }

    /// The operator as the type the rule is for.
    ///
    /// # Errors
    /// [`Error::Graph`] where it is another: that type has no backward.
    pub fn op<T: Op + Clone>(&self) -> Result<T> {
        self.node.op.downcast::<T>().cloned().ok_or_else(|| Error::graph(&self.node.scope, "a differentiable operator", self.node.op.label()))
    }

    /// An input of the forward node.
    pub fn input(&self, i: usize) -> Value {
        self.node.inputs[i]
    }

    /// How many inputs the forward node has.
    pub fn input_count(&self) -> usize {
        self.node.inputs.len()
    }

    /// An output of the forward node.
    pub fn output(&self, o: usize) -> Value {
        self.node.outputs[o]
    }

    /// The gradient of an output, where the loss depends on it.
    pub fn grad(&self, o: usize) -> Option<Value> {
        self.grads[o]
    }

    /// True where the gradient of this input is wanted.
    pub fn needs(&self, i: usize) -> bool {
        self.needs.get(i).copied().unwrap_or(false)
    }

    /// Gives the gradient of an input.
    pub fn set(&mut self, i: usize, grad: Value) {
        self.found[i] = Some(grad);
    }

    /// Gives the gradient of an input as the first output of `op` on `inputs`, where it is wanted.
    ///
    /// # Errors
    /// Those of [`Builder::apply`].
    pub fn set_by(&mut self, i: usize, op: impl Op, inputs: &[Value]) -> Result<()> {
        if self.needs(i) {
            let grad = self.builder.apply1(op, inputs)?;
            self.set(i, grad);
        }
        Ok(())
    }
}

/// Appends the gradients of `sum over seeds of <value, cotangent>` by each of `wrt`, in the present segment.
///
/// `seeds` pairs a value with the value that holds its cotangent (for a scalar loss: the constant 1, or a loss scale). The result is
/// none where the seeds do not depend on that value.
///
/// # Errors
/// [`Error::Graph`] where an operator on the way has no backward rule.
pub fn gradients(builder: &mut Builder, rules: &Rules, seeds: &[(Value, Value)], wrt: &[Value]) -> Result<Vec<Option<Value>>> {
    let nodes = builder.graph().nodes().to_vec();
    let mut needs = vec![false; builder.graph().values.len()];
    wrt.iter().for_each(|v| needs[v.index()] = true);
    for node in &nodes {
        if node.inputs.iter().any(|v| needs[v.index()]) {
            node.outputs.iter().for_each(|v| needs[v.index()] = true);
        }
    }
    let mut grads: Vec<Option<Value>> = vec![None; needs.len()];
    for &(value, cotangent) in seeds {
        accumulate(builder, rules, &mut grads[value.index()], cotangent)?;
    }
    for node in nodes.iter().rev() {
        let outputs: Vec<Option<Value>> = node.outputs.iter().map(|v| grads[v.index()]).collect();
        let wanted: Vec<bool> = node.inputs.iter().map(|v| needs[v.index()]).collect();
        if outputs.iter().all(Option::is_none) || !wanted.contains(&true) {
            continue;
        }
        let rule = (rules.backward)(node.op.stem()).ok_or_else(|| Error::graph(&node.scope, "a backward rule", node.op.label()))?;
        let scope = builder.replace_scope(if node.scope.is_empty() { Vec::new() } else { vec![node.scope.clone()] });
        let mut backward = Backward { builder, node, grads: outputs, needs: wanted, found: vec![None; node.inputs.len()] };
        rule(&mut backward)?;
        let found = std::mem::take(&mut backward.found);
        for (&input, grad) in node.inputs.iter().zip(found) {
            if let Some(grad) = grad.filter(|_| needs[input.index()]) {
                accumulate(builder, rules, &mut grads[input.index()], grad)?;
            }
        }
        builder.replace_scope(scope);
    }
    Ok(wrt.iter().map(|v| grads[v.index()]).collect())
}

fn accumulate(builder: &mut Builder, rules: &Rules, sum: &mut Option<Value>, grad: Value) -> Result<()> {
    *sum = Some(match *sum {
        None => grad,
        Some(before) => *builder.apply_shared((rules.add)(), &[before, grad])?.first().unwrap_or(&grad),
    });
    Ok(())
}
