//! Folds chains of operators into one, and hoists what depends on constants alone out of the replay.

use super::{Graph, Node, Rules, Segment, Source, StateKind, Value, ValueInfo, lower_precision};
use crate::error::Result;
use crate::op::Op;
use crate::tensor::{DType, TensorType};
use std::sync::Arc;

/// A node to be: its operator, what it reads, and what it makes.
pub type Part<'a, T> = (T, &'a [Value], &'a [Value]);

/// A graph whose nodes are being rewritten. Values keep their handles.
pub struct Rewriter {
    graph: Graph,
    uses: Vec<usize>,
    maker: Vec<Option<usize>>,
    added: Vec<(usize, Node)>,
}

impl Rewriter {
    fn new(graph: Graph) -> Self {
        let mut rewriter = Rewriter { uses: Vec::new(), maker: Vec::new(), added: Vec::new(), graph };
        rewriter.index();
        rewriter
    }

    fn index(&mut self) {
        self.uses = self.graph.uses();
        self.maker = vec![None; self.graph.values.len()];
        for (i, node) in self.graph.nodes.iter().enumerate() {
            node.outputs.iter().for_each(|v| self.maker[v.index()] = Some(i));
        }
    }

    /// The node with this index.
    pub fn node(&self, index: usize) -> &Node {
        &self.graph.nodes[index]
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> TensorType {
        self.graph.ty(value)
    }

    /// The node's operator as this type.
    pub fn op<T: Op>(&self, index: usize) -> Option<&T> {
        self.graph.nodes[index].op.downcast()
    }

    /// The node that makes a value, where its operator is of this type.
    pub fn maker_of<T: Op>(&self, value: Value) -> Option<(usize, &T)> {
        let maker = self.maker[value.index()]?;
        Some((maker, self.op::<T>(maker)?))
    }

    /// The same where nobody else reads the value.
    pub fn only_use_of<T: Op>(&self, value: Value) -> Option<(usize, &T)> {
        let maker = self.maker_for_one(value)?;
        Some((maker, self.op::<T>(maker)?))
    }

    /// The node that makes a value, where the value is read once; that it is a named result counts as being read.
    pub fn maker_for_one(&self, value: Value) -> Option<usize> {
        self.maker[value.index()].filter(|_| self.uses[value.index()] == 1)
    }

    /// True where a node may just as well run when a later one does: in the same segment, and no state that it reads is changed between
    /// the two.
    pub fn may_wait(&self, node: usize, until: usize) -> bool {
        let nodes = &self.graph.nodes;
        let root = self.graph.view_roots();
        let read: Vec<Value> = nodes[node].inputs.iter().map(|v| root[v.index()]).collect();
        let changed = |n: &Node| n.op.updates().iter().any(|&i| n.inputs.get(i).is_some_and(|v| read.contains(&root[v.index()])));
        nodes[node].segment == nodes[until].segment && !nodes[node..until].iter().any(changed)
    }

    /// True where a value never changes once the weights are loaded.
    pub fn is_constant(&self, value: Value) -> bool {
        match self.graph.info(value).source {
            Source::Constant(_) => true,
            Source::State(kind) => (kind.is_weight() || kind == StateKind::Derived) && !self.graph.updated()[value.index()],
            Source::Input => false,
            Source::Node => self.maker[value.index()].is_some_and(|m| {
                let node = &self.graph.nodes[m];
                node.op.updates().is_empty() && node.inputs.iter().all(|&v| self.is_constant(v))
            }),
        }
    }

    /// Adds a node that runs just before the one with this index; gives its outputs.
    ///
    /// # Errors
    /// Those of the operator's shape rule.
    pub fn insert_before(&mut self, index: usize, op: impl Op, inputs: &[Value]) -> Result<Vec<Value>> {
        let types: Vec<TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let (scope, segment) = (self.graph.nodes[index].scope.clone(), self.graph.nodes[index].segment);
        let mut outputs = Vec::new();
        for ty in op.infer(&types)? {
            outputs.push(Value(self.graph.values.len() as u32));
            self.graph.values.push(ValueInfo { name: format!("{scope}.{}", op.stem()), ty, source: Source::Node });
        }
        inputs.iter().for_each(|v| self.uses[v.index()] += 1);
        self.uses.resize(self.graph.values.len(), 0);
        self.maker.resize(self.graph.values.len(), None);
        self.added.push((index, Node { op: Arc::new(op), inputs: inputs.to_vec(), outputs: outputs.clone(), scope, segment }));
        Ok(outputs)
    }

    /// Gives the node with this index another operator and other inputs; its first outputs stay what they were.
    ///
    /// # Errors
    /// Those of the operator's shape rule; [`crate::Error::Graph`] where the outputs' types would change.
    pub fn replace(&mut self, index: usize, op: impl Op, inputs: &[Value]) -> Result<()> {
        let types: Vec<TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let inferred = op.infer(&types)?;
        let mut outputs = self.graph.nodes[index].outputs.clone();
        for (o, ty) in inferred.into_iter().enumerate() {
            match outputs.get(o) {
                Some(&v) if self.ty(v) == ty => {}
                Some(&v) => return Err(crate::Error::graph(&self.graph.info(v).name, self.ty(v), ty)),
                None => {
                    outputs.push(Value(self.graph.values.len() as u32));
                    let name = format!("{}.{}", self.graph.nodes[index].scope, op.stem());
                    self.graph.values.push(ValueInfo { name, ty, source: Source::Node });
                }
            }
        }
        let node = &mut self.graph.nodes[index];
        (node.op, node.inputs, node.outputs) = (Arc::new(op), inputs.to_vec(), outputs);
        Ok(())
    }

    /// Puts two nodes in the place of the one with this index, of which each makes some of its values: (operator, inputs, outputs). The first, which runs under the
    /// name of the node `like`, may make what the second reads.
    ///
    /// # Errors
    /// Those of the operators' shape rules; [`crate::Error::Graph`] where a value's type would change.
    pub fn part(&mut self, index: usize, like: usize, first: Part<impl Op>, second: Part<impl Op>) -> Result<()> {
        let scope = self.graph.nodes[like].scope.clone();
        let first = Node { scope, ..self.made(index, first)? };
        self.graph.nodes[index] = self.made(index, second)?;
        self.added.push((index, first));
        Ok(())
    }

    /// A node in the segment and under the name of the one with this index.
    fn made(&self, index: usize, (op, inputs, outputs): Part<impl Op>) -> Result<Node> {
        let types: Vec<TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        for (&v, ty) in outputs.iter().zip(op.infer(&types)?) {
            if self.ty(v) != ty {
                return Err(crate::Error::graph(&self.graph.info(v).name, self.ty(v), ty));
            }
        }
        let Node { scope, segment, .. } = self.graph.nodes[index].clone();
        Ok(Node { op: Arc::new(op), inputs: inputs.to_vec(), outputs: outputs.to_vec(), scope, segment })
    }

    /// Puts the added nodes in their places and drops what nobody reads any more.
    fn settle(&mut self) {
        let mut added = std::mem::take(&mut self.added).into_iter().peekable();
        let old = std::mem::take(&mut self.graph.nodes);
        for (i, node) in old.into_iter().enumerate() {
            while let Some((_, before)) = added.next_if(|(at, _)| *at == i) {
                self.graph.nodes.push(before);
            }
            self.graph.nodes.push(node);
        }
        self.graph.drop_dead_nodes();
        self.index();
    }
}

/// The graph with every fusion of the table applied until none applies, and constants hoisted into [`Segment::Prepare`].
///
/// # Errors
/// Those of the fusion rules.
pub fn fuse(graph: Graph, rules: &Rules) -> Result<Graph> {
    rewrite(graph, rules).map(hoist)
}

/// What a session is to run of a graph as it was written: computing in `low`, fused. It is fused before it is lowered, since casts would stand
/// between what belongs together, a convolution and the normalisation that folds into it, and again after it for what has come to lie together.
///
/// # Errors
/// Those of the fusion rules and of the operators' shape rules.
pub fn prepare(graph: Graph, rules: &Rules, low: DType) -> Result<Graph> {
    let graph = rewrite(graph, rules)?;
    if low == DType::F32 {
        return Ok(hoist(graph));
    }
    fuse(lower_precision(&graph, rules, low)?, rules)
}

fn rewrite(graph: Graph, rules: &Rules) -> Result<Graph> {
    let mut rewriter = Rewriter::new(graph);
    rewriter.settle();
    for rule in (rules.fusions)() {
        let mut changed = true;
        while changed {
            changed = false;
            let mut i = 0;
            while i < rewriter.graph.nodes.len() {
                if rule(&mut rewriter, i)? {
                    rewriter.settle();
                    changed = true;
                }
                i += 1;
            }
        }
    }
    Ok(rewriter.graph)
}

/// Moves nodes that depend on constants alone into [`Segment::Prepare`]. Their results become derived state, named by the expression
/// that computes it, so that sessions of different shapes share one copy.
fn hoist(mut graph: Graph) -> Graph {
    let updated = graph.updated();
    let mut constant: Vec<bool> = (graph.values.iter().zip(&updated))
        .map(|(v, &updated)| match v.source {
            Source::Constant(_) => true,
            Source::State(kind) => (kind.is_weight() || kind == StateKind::Derived) && !updated,
            _ => false,
        })
        .collect();
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        // A node without weights among its inputs would be a constant that could be written down; leave it.
        let from_weights = node.inputs.iter().any(|v| matches!(graph.values[v.index()].source, Source::State(_)));
        let named = node.outputs.iter().any(|v| graph.outputs.iter().any(|(_, o)| o == v));
        let fixed = node.inputs.iter().all(|v| constant[v.index()] && !matches!(graph.values[v.index()].source, Source::Constant(_)));
        if !from_weights || named || !fixed || !node.op.updates().is_empty() || node.op.is_view() {
            continue;
        }
        let arguments: Vec<&str> = node.inputs.iter().map(|v| graph.values[v.index()].name.as_str()).collect();
        let expression = format!("{:?}({})", node.op, arguments.join(", "));
        graph.nodes[i].segment = Segment::Prepare;
        for (o, v) in graph.nodes[i].outputs.clone().into_iter().enumerate() {
            let info = &mut graph.values[v.index()];
            info.name = format!("{expression}.{o}");
            info.source = Source::State(StateKind::Derived);
            constant[v.index()] = true;
        }
    }
    graph
}
