//! Lesson 2: a graph is built, fused, planned and replayed.
//!
//! `cargo run --example 02_graph`

use escnet::graph::{Builder, Options, Plan, Segment, Session, Store, fuse};
use escnet::ops::linear::{Activation, linear};
use escnet::ops::{rules, softmax::softmax};
use escnet::{Device, Result, Tensor, TensorType};

fn main() -> Result<()> {
    // A two-layer perceptron. Parameters are state: named, persistent, filled from a weight file or, here, by hand.
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([4, 8]))?;
    let y = b.scoped("mlp", |b| {
        let w1 = b.parameter("fc1.weight", [32, 8])?;
        let w2 = b.parameter("fc2.weight", [3, 32])?;
        let hidden = linear(b, x, w1, None, Activation::Relu)?;
        linear(b, hidden, w2, None, Activation::None)
    })?;
    let y = softmax(&mut b, y)?;
    b.output("y", y);
    let graph = fuse(b.finish(), &rules())?;
    for node in graph.nodes() {
        println!("{:<10} in `{}`", node.op.label(), node.scope);
    }

    // Liveness gives values the same memory where they do not live at the same time.
    let plan = Plan::new(&graph, 1);
    println!("planned {} bytes in {} slots; {} bytes without reuse", plan.peak_bytes, plan.slots.len(), plan.total_bytes);

    // A store holds the state; a session replays the graph against it.
    let mut store = Store::new(&Device::cpu(1)?);
    let mut session = Session::new(graph, &mut store, Options::default())?;
    let wave = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
    store.write("mlp.fc1.weight", &Tensor::from_f32([32, 8], wave(256))?)?;
    store.write("mlp.fc2.weight", &Tensor::from_f32([3, 32], wave(96))?)?;
    for shift in [0.0, 0.5] {
        session.write("x", &Tensor::from_f32([4, 8], wave(32).iter().map(|v| v + shift).collect())?)?;
        session.run(&mut store, Segment::Run)?;
        println!("{:?}", session.read("y", &mut store)?.to_f32());
    }
    Ok(())
}
