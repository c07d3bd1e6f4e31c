//! Builds a graph node by node.

use super::{Graph, Node, Segment, Source, StateKind, Value, ValueInfo};
use crate::error::{Error, Result};
use crate::op::Op;
use crate::tensor::{DType, Shape, Tensor, TensorType};
use std::collections::HashMap;
use std::sync::Arc;

/// A graph under construction. Names of parameters and scopes of nodes follow the path of [`Builder::scoped`] calls.
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
    named: HashMap<String, Value>,
    scope: Vec<String>,
    segment: Segment,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// An empty graph.
    pub fn new() -> Self {
        Self::from(Graph::default())
    }

    /// The finished graph.
    pub fn finish(mut self) -> Graph {
        self.graph.drop_dead_nodes();
        self.graph
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> TensorType {
        self.graph.ty(value)
    }

    /// The extents of a value.
    pub fn shape(&self, value: Value) -> Shape {
        self.graph.ty(value).shape
    }

    /// Runs `build` with `name` appended to the scope.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn scoped<R>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        self.scope.push(name.to_owned());
        let result = build(self);
        self.scope.pop();
        result
    }

    /// The present scope, its parts joined by dots.
    pub fn scope(&self) -> String {
        self.scope.join(".")
    }

    pub(crate) fn replace_scope(&mut self, scope: Vec<String>) -> Vec<String> {
        std::mem::replace(&mut self.scope, scope)
    }

    /// The segment that nodes are put into from now on; returns the one before.
    pub fn set_segment(&mut self, segment: Segment) -> Segment {
        std::mem::replace(&mut self.segment, segment)
    }

    pub(crate) fn segment(&self) -> Segment {
        self.segment
    }

    fn path(&self, name: &str) -> String {
        if self.scope.is_empty() { name.to_owned() } else { format!("{}.{name}", self.scope()) }
    }

    fn add_value(&mut self, name: String, ty: TensorType, source: Source) -> Value {
        let value = Value(self.graph.values.len() as u32);
        self.graph.values.push(ValueInfo { name, ty, source });
        value
    }

    fn add_named(&mut self, name: String, ty: TensorType, source: Source) -> Result<Value> {
        if let Some(&value) = self.named.get(&name) {
            let known = self.graph.info(value);
            return if known.ty == ty && known.source == source {
                Ok(value)
            } else {
                Err(Error::graph(name, format!("{} {:?}", known.ty, known.source), format!("{ty} {source:?}")))
            };
        }
        let value = self.add_value(name.clone(), ty, source);
        self.named.insert(name, value);
        Ok(value)
    }

    /// A tensor that the host writes before a run. The name is taken as it stands.
    ///
    /// # Errors
    /// [`Error::Graph`] where the name stands for something else.
    pub fn input(&mut self, name: &str, ty: TensorType) -> Result<Value> {
        self.add_named(name.to_owned(), ty, Source::Input)
    }

    /// A trained tensor in f32, named by the scope and `name`. Asking twice gives the same value.
    ///
    /// # Errors
    /// [`Error::Graph`] where the name stands for something else.
    pub fn parameter(&mut self, name: &str, shape: impl Into<Shape>) -> Result<Value> {
        self.add_named(self.path(name), TensorType::f32(shape), Source::State(StateKind::Parameter))
    }

    /// Any other state, named by the scope and `name`.
    ///
    /// # Errors
    /// [`Error::Graph`] where the name stands for something else.
    pub fn state(&mut self, name: &str, ty: TensorType, kind: StateKind) -> Result<Value> {
        self.add_named(self.path(name), ty, Source::State(kind))
    }

    /// State named as it stands, whatever the scope.
    ///
    /// # Errors
    /// [`Error::Graph`] where the name stands for something else.
    pub fn global_state(&mut self, name: &str, ty: TensorType, kind: StateKind) -> Result<Value> {
        self.add_named(name.to_owned(), ty, Source::State(kind))
    }

    /// Fixed numbers.
    pub fn constant(&mut self, tensor: Tensor) -> Value {
        let name = self.path("constant");
        self.add_value(name, tensor.ty(), Source::Constant(tensor))
    }

    /// Appends a node; gives all its outputs.
    ///
    /// # Errors
    /// [`Error::Op`] where the operator does not accept the inputs, [`Error::Graph`] where what it updates is not state.
    pub fn apply(&mut self, op: impl Op, inputs: &[Value]) -> Result<Vec<Value>> {
        self.apply_shared(Arc::new(op), inputs)
    }

    /// Appends a node; gives its first output.
    ///
    /// # Errors
    /// As [`Builder::apply`].
    pub fn apply1(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value> {
        let stem = op.stem();
        self.apply(op, inputs)?.first().copied().ok_or_else(|| Error::graph(stem, "an output", "none"))
    }

    /// [`Builder::apply`] for an operator that is already shared.
    ///
    /// # Errors
    /// As [`Builder::apply`].
    pub fn apply_shared(&mut self, op: Arc<dyn Op>, inputs: &[Value]) -> Result<Vec<Value>> {
        let types: Vec<TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let scope = self.scope();
        let outputs = op.infer(&types).map_err(|e| match e {
            Error::Op { op, tensor, expected, got } if !scope.is_empty() => Error::Op { op, tensor: format!("{scope}: {tensor}"), expected, got },
            other => other,
        })?;
        for i in op.updates() {
            let is_state = inputs.get(i).is_some_and(|&v| matches!(self.graph.info(v).source, Source::State(_)));
            if !is_state {
                return Err(Error::graph(scope, "state to update", format!("input {i} of {}", op.label())));
            }
        }
        let name = self.path(&op.label());
        let outputs: Vec<Value> = outputs.into_iter().map(|ty| self.add_value(name.clone(), ty, Source::Node)).collect();
        let node = Node { op, inputs: inputs.to_vec(), outputs: outputs.clone(), scope, segment: self.segment };
        self.graph.nodes.push(node);
        Ok(outputs)
    }

    /// Gives a value a name under which the host reads it after a run.
    pub fn output(&mut self, name: &str, value: Value) {
        self.graph.outputs.push((name.to_owned(), value));
    }

    /// The element type of a value.
    pub fn dtype(&self, value: Value) -> DType {
        self.ty(value).dtype
    }
}

impl From<Graph> for Builder {
    /// Goes on building a graph.
    fn from(graph: Graph) -> Self {
        let named =
            graph.values().filter(|(_, v)| matches!(v.source, Source::Input | Source::State(_))).map(|(id, v)| (v.name.clone(), id)).collect();
        Builder { graph, named, scope: Vec::new(), segment: Segment::Run }
    }
}
