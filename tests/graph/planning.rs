//! Slots: who lives where, and for how long.

use super::{Rig, input, random};
use escnet::TensorType;
use escnet::graph::{Builder, Graph, Plan, Segment, Source, StateKind, Value, fuse};
use escnet::ops::linear::{Activation, linear};
use escnet::ops::{add::add, relu::relu, reshape::reshape, rules, tanh::tanh};
use proptest::prelude::*;

/// For each value the one that it is a view of.
fn roots(graph: &Graph) -> Vec<Value> {
    let mut root: Vec<Value> = graph.values().map(|(v, _)| v).collect();
    let place = |v: Value| graph.values().position(|(w, _)| w == v).unwrap();
    for node in graph.nodes().iter().filter(|n| n.op.is_view()) {
        root[place(node.outputs[0])] = root[place(node.inputs[0])];
    }
    root
}

/// Runs the graph with names in place of numbers: each slot holds the name of what was last written into it. Every node must find in
/// the slots what it reads, write nothing twice, and leave the results whole.
fn walk(graph: &Graph, plan: &Plan) {
    let index = |v: Value| graph.values().position(|(w, _)| w == v).unwrap();
    let roots = roots(graph);
    let root = |v: Value| roots[index(v)];
    let home = |v: Value| plan.home[index(v)];
    let mut holds: Vec<Option<Value>> = vec![None; plan.slots.len()];
    for (v, info) in graph.values() {
        if let (Source::Input | Source::Constant(_), Some(slot)) = (&info.source, home(v)) {
            assert!(holds[slot].is_none(), "two inputs in slot {slot}");
            holds[slot] = Some(v);
        }
    }
    let is_state = |v: Value| matches!(graph.info(root(v)).source, Source::State(_));
    let check = |holds: &[Option<Value>], v: Value, what: &str| {
        if !is_state(v) {
            let slot = home(v).unwrap_or_else(|| panic!("{what}: {} has no slot", graph.info(v).name));
            assert_eq!(holds[slot], Some(root(v)), "{what}: slot {slot} no longer holds {}", graph.info(v).name);
            assert!(plan.slots[slot].len >= graph.ty(v).len() && plan.slots[slot].float == graph.ty(v).dtype.is_float());
        }
    };
    for segment in [Segment::Run, Segment::Apply] {
        for (n, node) in graph.nodes().iter().enumerate().filter(|(_, n)| n.segment == segment && !n.op.is_view()) {
            node.inputs.iter().for_each(|&v| check(&holds, v, &node.op.label()));
            let mut written = Vec::new();
            for (o, &v) in node.outputs.iter().enumerate().filter(|(_, v)| !plan.unwanted[index(**v)] && !is_state(**v)) {
                let slot = home(v).unwrap();
                for (i, &x) in node.inputs.iter().enumerate().filter(|(_, x)| !is_state(**x) && home(**x) == Some(slot)) {
                    assert!(node.op.in_place().contains(&(i, o)), "{} writes over its input {i}: {}", node.op.label(), graph.info(x).name);
                    let readers = node.inputs.iter().filter(|y| root(**y) == root(x)).count();
                    assert_eq!(readers, 1, "{} reads what it writes over twice", node.op.label());
                }
                written.push((slot, Some(v)));
            }
            if let Some((slot, len)) = plan.workspace[n] {
                assert!(plan.slots[slot].len >= len && !node.inputs.iter().any(|&x| !is_state(x) && home(x) == Some(slot)));
                written.push((slot, None));
            }
            for (i, (slot, v)) in written.iter().enumerate() {
                assert!(written[i + 1..].iter().all(|(other, _)| other != slot), "{} writes slot {slot} twice", node.op.label());
                holds[*slot] = *v;
            }
        }
    }
    graph.outputs().iter().for_each(|(name, v)| check(&holds, *v, name));
}

fn numbers(n: usize, k: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * k + 1.0).sin()).collect()
}

/// The results of a graph on fixed numbers, by name.
fn results(graph: Graph) -> Vec<(String, Vec<f32>)> {
    let names: Vec<String> = graph.outputs().iter().map(|(n, _)| n.clone()).collect();
    let known = |name: &str| graph.named(name).is_some();
    let (has_x, states): (bool, Vec<&str>) = (known("x"), ["p", "s"].into_iter().filter(|n| known(n)).collect());
    let mut rig = Rig::new(graph);
    for name in states {
        rig.set(name, &numbers(15, 0.3 + name.len() as f32));
    }
    if has_x {
        rig.write("x", &numbers(15, 0.7));
    }
    rig.run().apply();
    names.into_iter().map(|name| (name.clone(), rig.read(&name))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_slot_is_written_while_it_is_needed(steps in random::steps(), threads in 1..4usize) {
        for graph in [random::build(&steps, false), fuse(random::build(&steps, false), &rules()).unwrap()] {
            let plan = Plan::new(&graph, threads);
            walk(&graph, &plan);
            prop_assert!(plan.peak_bytes <= plan.total_bytes, "{} > {}", plan.peak_bytes, plan.total_bytes);
        }
    }

    #[test]
    fn reuse_and_hoisting_change_no_bit(steps in random::steps()) {
        // Where everything is a result nothing is reused.
        let all = results(random::build(&steps, true));
        for graph in [random::build(&steps, false), fuse(random::build(&steps, false), &rules()).unwrap()] {
            for (name, got) in results(graph) {
                let want = all.iter().find(|(n, _)| *n == name).map(|(_, v)| v);
                prop_assert!(want.is_some_and(|w| w.iter().zip(&got).all(|(w, g)| w.to_bits() == g.to_bits())), "{}", name);
            }
        }
    }
}

fn home(plan: &Plan, graph: &Graph, v: Value) -> Option<usize> {
    plan.home[graph.values().position(|(w, _)| w == v).unwrap()]
}

#[test]
fn a_chain_shares_one_slot() {
    let mut b = Builder::new();
    let x = input(&mut b, "x", 64);
    let first = relu(&mut b, x).unwrap();
    let view = reshape(&mut b, first, [8, 8]).unwrap();
    let second = tanh(&mut b, view).unwrap();
    let third = add(&mut b, second, second).unwrap();
    b.output("y", third);
    let graph = b.finish();
    let plan = Plan::new(&graph, 1);
    // The input is not written over; tanh works on the view in place; add reads its input twice and may not.
    assert_ne!(home(&plan, &graph, first), home(&plan, &graph, x));
    assert_eq!(home(&plan, &graph, second), home(&plan, &graph, first));
    assert_ne!(home(&plan, &graph, third), home(&plan, &graph, second));
    assert_eq!(plan.slots.len(), 3);
}

#[test]
fn what_is_read_later_or_named_is_not_written_over() {
    let mut b = Builder::new();
    let x = input(&mut b, "x", 64);
    let base = relu(&mut b, x).unwrap();
    let named = relu(&mut b, base).unwrap();
    let view = reshape(&mut b, base, [64, 1]).unwrap();
    let last = tanh(&mut b, named).unwrap();
    let again = tanh(&mut b, view).unwrap();
    b.output("named", named);
    b.output("last", last);
    b.output("again", again);
    let graph = b.finish();
    let plan = Plan::new(&graph, 1);
    assert_ne!(home(&plan, &graph, named), home(&plan, &graph, base), "a view of it is read later");
    assert_ne!(home(&plan, &graph, last), home(&plan, &graph, named), "it is a result");
    assert_eq!(home(&plan, &graph, again), home(&plan, &graph, base), "the last reader of the view");
}

#[test]
fn state_is_not_written_over_through_a_view() {
    let mut b = Builder::new();
    let s = b.state("s", TensorType::f32([4]), StateKind::Cache).unwrap();
    let view = reshape(&mut b, s, [2, 2]).unwrap();
    let y = relu(&mut b, view).unwrap();
    b.output("y", y);
    let mut rig = Rig::new(b.finish());
    rig.set("s", &[-1.0, 2.0, -3.0, 4.0]).run();
    assert_eq!(rig.read("y"), [0.0, 2.0, 0.0, 4.0]);
    assert_eq!(rig.state("s"), [-1.0, 2.0, -3.0, 4.0]);
}

#[test]
fn a_saved_output_that_nobody_reads_takes_no_memory() {
    let build = |named: bool| {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::f32([8, 8])).unwrap();
        let w = b.parameter("w", [16, 8]).unwrap();
        let y = linear(&mut b, x, w, None, Activation::Gelu).unwrap();
        b.output("y", y);
        if named {
            let before = b.graph().nodes()[0].outputs[1];
            b.output("before", before);
        }
        Plan::new(&b.finish(), 1).peak_bytes
    };
    assert_eq!(build(true) - build(false), 8 * 16 * 4);
}
