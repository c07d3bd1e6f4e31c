//! Which state lies side by side in a device's memory, and which must not.

use super::replay::Step;
use super::store::Store;
use super::{Graph, Source, StateKind, Value};
use crate::device::binding::Home;
use crate::error::Result;
use std::collections::{BTreeSet, HashMap, HashSet};

/// State that nodes go through together: what stands in one list of a node is in one set, and so are lists that have something in common. Weights that
/// the graph only reads are left out: they are dropped one by one.
pub(super) fn sets(graph: &Graph) -> Vec<BTreeSet<Value>> {
    let updated = graph.updated();
    let may = |v: &Value| match graph.info(*v).source {
        Source::State(StateKind::Derived) => false,
        Source::State(kind) => !kind.is_weight() || updated[v.index()],
        _ => false,
    };
    let mut sets: Vec<BTreeSet<Value>> = Vec::new();
    for node in &graph.nodes {
        for list in node.op.together(node.inputs.len()) {
            let mut whole: BTreeSet<Value> = list.iter().filter_map(|&i| node.inputs.get(i)).copied().filter(may).collect();
            let (meeting, others): (Vec<_>, Vec<_>) = sets.into_iter().partition(|set| !set.is_disjoint(&whole));
            whole.extend(meeting.into_iter().flatten());
            sets = others;
            sets.push(whole);
        }
    }
    sets.retain(|set| set.len() > 1);
    sets
}

/// Moves apart what a node updates and what it reads, or updates in another list: a launch binds all that lies together. An assignment of one trained
/// parameter to another needs it.
pub(super) fn separate(store: &mut Store, graph: &Graph, steps: &[Step]) -> Result<()> {
    for Step { node, binding } in steps {
        let (op, count) = (&graph.nodes[*node].op, graph.nodes[*node].inputs.len());
        let updates: HashSet<usize> = op.updates().into_iter().collect();
        let lists = op.together(count);
        let list_of: HashMap<usize, usize> = lists.iter().enumerate().flat_map(|(n, list)| list.iter().map(move |&i| (i, n))).collect();
        let states = |i: &usize| binding.input(*i).home == Home::State;
        for update in (0..count).filter(|i| updates.contains(i)).filter(states) {
            let other = |i: &usize| *i != update && (list_of.get(i) != list_of.get(&update) || !list_of.contains_key(i));
            for i in (0..count).filter(other).filter(states) {
                store.apart(binding.input(i).index, binding.input(update).index)?;
            }
        }
    }
    Ok(())
}
