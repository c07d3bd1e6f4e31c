//! What depends on weights alone is computed once, and again when they change.

use super::{Rig, set};
use escnet::graph::{Builder, Graph, Options, Segment, Session, StateKind, Store, fuse};
use escnet::ops::assign::assign;
use escnet::ops::cross_entropy::cross_entropy;
use escnet::ops::linear::{Activation, linear};
use escnet::ops::{add::add, rules, transpose::transpose};
use escnet::{Device, Tensor, TensorType};

/// y = x w, with w as [in, out]: its transpose depends on a weight alone, and the product wants it packed.
fn product(rows: usize) -> Graph {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([rows, 2])).unwrap();
    let w = b.parameter("w", [2, 3]).unwrap();
    let turned = transpose(&mut b, w, &[1, 0]).unwrap();
    let y = linear(&mut b, x, turned, None, Activation::None).unwrap();
    b.output("y", y);
    fuse(b.finish(), &rules()).unwrap()
}

/// Puts `x` into the parameter `w`, in this segment.
fn writer(segment: Segment) -> Graph {
    let mut b = Builder::new();
    b.set_segment(segment);
    let x = b.input("x", TensorType::f32([2, 3])).unwrap();
    let w = b.parameter("w", [2, 3]).unwrap();
    assign(&mut b, w, x).unwrap();
    b.finish()
}

const W: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
const NEW: [f32; 6] = [0.0, 1.0, 0.0, 2.0, 0.0, 3.0];

#[test]
fn derived_state_follows_what_the_host_writes() {
    for device in [Device::cpu(1).unwrap(), Device::reference().unwrap()] {
        let mut rig = Rig::on(product(1), Store::new(&device));
        rig.set("w", &W).write("x", &[1.0, 10.0]).run();
        assert_eq!(rig.read("y"), [41.0, 52.0, 63.0]);
        rig.set("w", &NEW).run();
        assert_eq!(rig.read("y"), [20.0, 1.0, 30.0]);
    }
}

#[test]
fn derived_state_follows_what_another_session_writes() {
    for segment in [Segment::Run, Segment::Apply] {
        let mut rig = Rig::new(product(1));
        rig.set("w", &W).write("x", &[1.0, 10.0]).run();
        let mut other = Session::new(writer(segment), &mut rig.store, Options::default()).unwrap();
        other.write("x", &Tensor::from_f32([2, 3], NEW.to_vec()).unwrap()).unwrap();
        other.run(&mut rig.store, segment).unwrap();
        rig.run();
        assert_eq!(rig.read("y"), [20.0, 1.0, 30.0], "{segment:?}");
    }
}

#[test]
fn a_weight_that_the_graph_itself_changes_is_not_constant() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([1, 2])).unwrap();
    let new = b.input("new", TensorType::f32([2, 3])).unwrap();
    let w = b.parameter("w", [2, 3]).unwrap();
    let turned = transpose(&mut b, w, &[1, 0]).unwrap();
    let y = linear(&mut b, x, turned, None, Activation::None).unwrap();
    assign(&mut b, w, new).unwrap();
    b.output("y", y);
    let graph = fuse(b.finish(), &rules()).unwrap();
    assert!(graph.nodes().iter().all(|n| n.segment == Segment::Run));
    let mut rig = Rig::new(graph);
    rig.set("w", &W).write("x", &[1.0, 10.0]).write("new", &NEW).run();
    assert_eq!(rig.read("y"), [41.0, 52.0, 63.0]);
    rig.run();
    assert_eq!(rig.read("y"), [20.0, 1.0, 30.0]);
}

#[test]
fn what_is_hoisted_may_need_scratch() {
    // A loss of weights alone: of no use, but it has scratch and is constant.
    let mut b = Builder::new();
    let w = b.parameter("w", [2, 3]).unwrap();
    let labels = b.state("labels", TensorType::i32([2]), StateKind::Statistic).unwrap();
    let loss = cross_entropy(&mut b, w, labels, None, 0.0, -100).unwrap();
    let x = b.input("x", TensorType::f32([])).unwrap();
    let y = add(&mut b, loss, x).unwrap();
    b.output("y", y);
    let graph = fuse(b.finish(), &rules()).unwrap();
    assert_eq!(graph.nodes()[0].segment, Segment::Prepare);
    let mut rig = Rig::new(graph);
    rig.set("w", &[0.0; 6]).write("x", &[1.0]).run();
    assert!((rig.read("y")[0] - (1.0 + 3.0f32.ln())).abs() < 1e-6);
}

#[test]
fn weights_come_from_the_source_when_they_are_needed_and_only_then() {
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = asked.clone();
    let source = move |name: &str| {
        log.lock().unwrap().push(name.to_owned());
        Ok((name == "w").then(|| Tensor::from_f32([2, 3], W.to_vec()).unwrap()))
    };
    let mut rig = Rig::on(product(1), Store::with_source(&Device::cpu(1).unwrap(), std::sync::Arc::new(source)));
    assert!(asked.lock().unwrap().is_empty());
    rig.write("x", &[1.0, 10.0]).run().run();
    assert_eq!(rig.read("y"), [41.0, 52.0, 63.0]);
    assert_eq!(*asked.lock().unwrap(), ["w"]);
    // Only the packed copy is kept.
    assert_eq!(rig.store.resident_bytes(), 0);
    set(&mut rig.store, "w", &NEW);
    rig.run();
    assert_eq!(rig.read("y"), [20.0, 1.0, 30.0]);
}

#[test]
fn two_sessions_share_a_store() {
    let mut rig = Rig::new(product(1));
    let mut wide = Session::new(product(2), &mut rig.store, Options::default()).unwrap();
    assert_eq!(rig.store.entries().filter(|(.., kind)| *kind == StateKind::Derived).count(), 1);
    rig.set("w", &W).write("x", &[1.0, 10.0]).run();
    wide.write("x", &Tensor::from_f32([2, 2], vec![1.0, 10.0, 0.0, 1.0]).unwrap()).unwrap();
    wide.run(&mut rig.store, Segment::Run).unwrap();
    assert_eq!(wide.read("y", &mut rig.store).unwrap().to_f32(), [41.0, 52.0, 63.0, 4.0, 5.0, 6.0]);
    rig.set("w", &NEW).run();
    wide.run(&mut rig.store, Segment::Run).unwrap();
    assert_eq!(rig.read("y"), [20.0, 1.0, 30.0]);
    assert_eq!(wide.read("y", &mut rig.store).unwrap().to_f32(), [20.0, 1.0, 30.0, 2.0, 0.0, 3.0]);
}
