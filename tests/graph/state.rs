//! State changes at its node.

use super::{Rig, input};
use escnet::graph::{Builder, Options, Segment, Session, StateKind, Store};
use escnet::ops::accumulate::accumulate;
use escnet::ops::assign::assign;
use escnet::ops::{relu::relu, scale::scale};
use escnet::{Device, Error, Tensor, TensorType};

#[test]
fn before_its_update_the_old_content_is_read_and_after_it_the_new() {
    let mut b = Builder::new();
    let x = input(&mut b, "x", 2);
    let s = b.state("s", TensorType::f32([2]), StateKind::Cache).unwrap();
    let old = relu(&mut b, s).unwrap();
    assign(&mut b, s, x).unwrap();
    let new = relu(&mut b, s).unwrap();
    b.output("old", old);
    b.output("new", new);
    b.output("s", s);
    let mut rig = Rig::new(b.finish());
    rig.set("s", &[1.0, 2.0]).write("x", &[5.0, 6.0]).run();
    assert_eq!((rig.read("old"), rig.read("new"), rig.read("s")), (vec![1.0, 2.0], vec![5.0, 6.0], vec![5.0, 6.0]));
    rig.write("x", &[7.0, 8.0]).run();
    assert_eq!((rig.read("old"), rig.read("new"), rig.state("s")), (vec![5.0, 6.0], vec![7.0, 8.0], vec![7.0, 8.0]));
}

#[test]
fn gradients_of_micro_steps_are_summed_and_applied_once() {
    let mut b = Builder::new();
    let x = input(&mut b, "x", 2);
    let sum = b.state("sum", TensorType::f32([2]), StateKind::Gradient).unwrap();
    let control = b.state("control", TensorType::i32([4]), StateKind::Control).unwrap();
    let p = b.parameter("p", [2]).unwrap();
    let grad = scale(&mut b, x, 2.0).unwrap();
    accumulate(&mut b, sum, grad, control, None).unwrap();
    b.set_segment(Segment::Apply);
    let step = scale(&mut b, sum, -1.0).unwrap();
    assign(&mut b, p, step).unwrap();
    let mut rig = Rig::new(b.finish());
    for start in [1.0, 100.0] {
        for micro_step in 0..3 {
            let control = Tensor::from_i32([4], vec![0, 0, 0, micro_step]).unwrap();
            rig.store.write("control", &control).unwrap();
            rig.write("x", &[start, micro_step as f32]).run();
        }
        rig.apply();
        assert_eq!(rig.state("p"), [-6.0 * start, -6.0]);
    }
}

#[test]
fn a_node_that_runs_before_what_it_reads_is_refused() {
    let mut b = Builder::new();
    let x = input(&mut b, "x", 2);
    b.set_segment(Segment::Apply);
    let late = relu(&mut b, x).unwrap();
    b.set_segment(Segment::Run);
    let early = b.scoped("early", |b| relu(b, late)).unwrap();
    b.output("y", early);
    let mut store = Store::new(&Device::cpu(1).unwrap());
    match Session::new(b.finish(), &mut store, Options::default()) {
        Err(Error::Graph { name, .. }) => assert_eq!(name, "early"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn state_cannot_be_assigned_to_itself() {
    let mut b = Builder::new();
    let s = b.state("s", TensorType::f32([2]), StateKind::Cache).unwrap();
    b.scoped("loop", |b| assign(b, s, s)).unwrap();
    let mut store = Store::new(&Device::cpu(1).unwrap());
    match Session::new(b.finish(), &mut store, Options::default()) {
        Err(Error::Graph { name, got, .. }) => assert!(name == "loop" && got.contains("assign"), "{got}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_state_can_be_updated() {
    let mut b = Builder::new();
    let x = input(&mut b, "x", 2);
    let y = relu(&mut b, x).unwrap();
    for target in [x, y] {
        assert!(matches!(assign(&mut b, target, x), Err(Error::Graph { .. })));
    }
}
