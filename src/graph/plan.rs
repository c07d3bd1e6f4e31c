//! Turns liveness into reusable slots.
//!
//! Nodes stand on one time line: the run segment, then the apply segment. A value is alive from the node that makes it to the last
//! that reads it; inputs and constants always, named results to the end. Slots are given out by falling size, each value taking the
//! smallest slot that is free for its whole life ("greedy by size for shared objects", Pisarchyk and Lee 2020, arXiv:2001.03288).

use super::{Graph, Segment, Source, Value};
use crate::device::Room;
use crate::op::Op;
use crate::tensor::TensorType;

/// Where every value lives.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The reusable buffers.
    pub slots: Vec<Room>,
    /// For each value the slot it lies in; none for state and for values that nobody makes or reads.
    pub home: Vec<Option<usize>>,
    /// For each node its scratch: (slot, elements).
    pub workspace: Vec<Option<(usize, usize)>>,
    /// Outputs that nobody reads and that need not be computed.
    pub unwanted: Vec<bool>,
    /// For each node the bytes of values and scratch that are needed while it runs, those that share memory once: never more than all slots have. 0 for those that prepare weights.
    pub live: Vec<usize>,
    /// Bytes of all slots together: what a session allocates.
    pub peak_bytes: usize,
    /// Bytes of all values and all scratch, each on its own: what a session would allocate without reuse.
    pub total_bytes: usize,
}

/// Values that share one buffer by computing in place, or one node's scratch.
struct Tenant {
    float: bool,
    len: usize,
    bytes: usize,
    from: usize,
    to: usize,
}

impl Plan {
    /// Plans a graph for a CPU with this many threads; 0 stands for a GPU, where operators have no scratch.
    pub fn new(graph: &Graph, threads: usize) -> Self {
        let order: Vec<usize> = [Segment::Run, Segment::Apply]
            .into_iter()
            .flat_map(|s| graph.nodes.iter().enumerate().filter(move |(_, n)| n.segment == s).map(|(i, _)| i))
            .collect();
        let end = order.len() + 1;
        let uses = graph.uses();
        let mut unwanted = vec![false; graph.values.len()];
        let mut last = vec![0; graph.values.len()];
        let mut first = vec![usize::MAX; graph.values.len()];
        for (at, &n) in order.iter().enumerate() {
            let node = &graph.nodes[n];
            node.inputs.iter().for_each(|v| last[v.index()] = at + 1);
            for (o, v) in node.outputs.iter().enumerate() {
                first[v.index()] = at + 1;
                last[v.index()] = last[v.index()].max(at + 1);
                unwanted[v.index()] = uses[v.index()] == 0 && node.op.optional_outputs().contains(&o);
            }
        }
        for (value, info) in graph.values() {
            if matches!(info.source, Source::Input | Source::Constant(_)) && (uses[value.index()] > 0 || info.source == Source::Input) {
                (first[value.index()], last[value.index()]) = (0, end);
            }
        }
        graph.outputs.iter().for_each(|(_, v)| last[v.index()] = end);
        // A view and what it is a view of live as long as the longest-lived of them.
        let root = graph.view_roots();
        for v in 0..root.len() {
            last[root[v].index()] = last[root[v].index()].max(last[v]);
        }
        let is_view = |v: Value| root[v.index()] != v;

        let mut tenants: Vec<Tenant> = Vec::new();
        let mut tenant_of: Vec<Option<usize>> = vec![None; graph.values.len()];
        let mut scratch: Vec<Option<(usize, usize)>> = vec![None; graph.nodes.len()];
        let lives =
            |v: Value| !is_view(v) && !matches!(graph.info(v).source, Source::State(_)) && !unwanted[v.index()] && first[v.index()] != usize::MAX;
        let tenant = |ty: TensorType, from, to| Tenant { float: ty.dtype.is_float(), len: ty.len(), bytes: ty.bytes(), from, to };
        for (v, info) in graph.values() {
            if lives(v) && !matches!(info.source, Source::Node) {
                tenant_of[v.index()] = Some(tenants.len());
                tenants.push(tenant(info.ty, first[v.index()], last[v.index()]));
            }
        }
        for (at, &n) in order.iter().enumerate() {
            let node = &graph.nodes[n];
            if node.op.is_view() {
                continue;
            }
            let mut taken = Vec::new();
            for (o, &v) in node.outputs.iter().enumerate().filter(|(_, v)| lives(**v)) {
                let heir = node.op.in_place().iter().filter(|(_, to)| *to == o).find_map(|&(i, _)| {
                    let input = root[node.inputs.get(i)?.index()];
                    let once = node.inputs.iter().filter(|v| root[v.index()] == input).count() == 1;
                    let dies_here = last[input.index()] == at + 1 && graph.info(input).source == Source::Node;
                    let alike = graph.ty(input).len() == graph.ty(v).len() && graph.ty(input).dtype == graph.ty(v).dtype;
                    (once && dies_here && alike && !taken.contains(&input)).then_some(input)
                });
                let slot = heir.and_then(|input| {
                    taken.push(input);
                    tenant_of[input.index()]
                });
                tenant_of[v.index()] = Some(match slot {
                    Some(t) => {
                        tenants[t].to = tenants[t].to.max(last[v.index()]);
                        tenants[t].bytes = tenants[t].bytes.max(graph.ty(v).bytes());
                        t
                    }
                    None => {
                        tenants.push(tenant(graph.ty(v), first[v.index()], last[v.index()]));
                        tenants.len() - 1
                    }
                });
            }
            let types: Vec<TensorType> = node.inputs.iter().map(|&v| graph.ty(v)).collect();
            let len = scratch_of(&*node.op, &types, threads);
            if len > 0 {
                scratch[n] = Some((tenants.len(), len));
                tenants.push(Tenant { float: true, len, bytes: len * 4, from: at + 1, to: at + 1 });
            }
        }

        for v in 0..root.len() {
            tenant_of[v] = tenant_of[root[v].index()];
        }
        let (slots, slot_of) = assign(&tenants);
        let values: usize = graph.values().filter(|(v, _)| lives(*v)).map(|(_, i)| i.ty.bytes()).sum();
        let total_bytes = values + scratch.iter().flatten().map(|(_, len)| len * 4).sum::<usize>();
        // What begins and ends at each moment, then sums of that.
        let mut change = vec![0_isize; end + 2];
        for tenant in &tenants {
            change[tenant.from] += tenant.bytes as isize;
            change[tenant.to + 1] -= tenant.bytes as isize;
        }
        for at in 1..change.len() {
            change[at] += change[at - 1];
        }
        let mut live = vec![0; graph.nodes.len()];
        order.iter().enumerate().for_each(|(at, &n)| live[n] = change[at + 1].unsigned_abs());
        Plan {
            peak_bytes: slots.iter().map(|s| s.bytes).sum(),
            slots,
            home: tenant_of.into_iter().map(|t| t.map(|t| slot_of[t])).collect(),
            workspace: scratch.into_iter().map(|s| s.map(|(t, len)| (slot_of[t], len))).collect(),
            unwanted,
            live,
            total_bytes,
        }
    }
}

/// How many scratch elements an operator gets.
pub(super) fn scratch_of(op: &dyn Op, inputs: &[TensorType], threads: usize) -> usize {
    if threads == 0 { 0 } else { op.workspace(inputs, threads) }
}

fn assign(tenants: &[Tenant]) -> (Vec<Room>, Vec<usize>) {
    let mut order: Vec<usize> = (0..tenants.len()).collect();
    order.sort_by_key(|&t| (std::cmp::Reverse(tenants[t].len), tenants[t].from));
    let mut slots: Vec<Room> = Vec::new();
    let mut lives: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut slot_of = vec![0; tenants.len()];
    for t in order {
        let Tenant { float, len, bytes, from, to } = tenants[t];
        let free = |s: &usize| slots[*s].float == float && lives[*s].iter().all(|&(a, b)| to < a || b < from);
        let slot = (0..slots.len()).filter(free).min_by_key(|&s| slots[s].len).unwrap_or_else(|| {
            slots.push(Room { float, len: 0, bytes: 0 });
            lives.push(Vec::new());
            slots.len() - 1
        });
        slots[slot].len = slots[slot].len.max(len);
        slots[slot].bytes = slots[slot].bytes.max(bytes);
        lives[slot].push((from, to));
        slot_of[t] = slot;
    }
    (slots, slot_of)
}
