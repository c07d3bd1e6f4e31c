//! Lesson 3: gradients are nodes like any other, and a gradient is checked by moving its input.
//!
//! `cargo run --example 03_backward`

use escnet::graph::{Builder, Options, Segment, Session, Store, gradients};
use escnet::ops::linear::{Activation, linear};
use escnet::ops::{cross_entropy::cross_entropy, rules};
use escnet::{Device, Result, Tensor, TensorType};

fn main() -> Result<()> {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([2, 4]))?;
    let w = b.input("w", TensorType::f32([3, 4]))?;
    let labels = b.input("labels", TensorType::i32([2]))?;
    let logits = linear(&mut b, x, w, None, Activation::Gelu)?;
    let loss = cross_entropy(&mut b, logits, labels, None, 0.0, -100)?;
    b.output("loss", loss);

    // Seeds pair a value with its cotangent: for a loss, 1.
    let one = b.constant(Tensor::scalar(1.0));
    let before = b.graph().nodes().len();
    let dw = gradients(&mut b, &rules(), &[(loss, one)], &[w])?[0].expect("the loss depends on w");
    b.output("dw", dw);
    println!("{before} nodes forward, {} with the backward pass", b.graph().nodes().len());

    // In f64, so that a small step is still a step.
    let mut store = Store::new(&Device::reference()?);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    session.write("x", &Tensor::from_f32([2, 4], vec![0.5, -1.0, 2.0, 0.1, -0.3, 0.8, -1.5, 1.0])?)?;
    session.write("labels", &Tensor::from_i32([2], vec![0, 2])?)?;
    let weights: Vec<f64> = (0..12).map(|i| f64::from(i) * 0.3 - 1.5).collect();
    let mut loss_at = |i: usize, h: f64| -> Result<(f64, f64)> {
        let mut moved = weights.clone();
        moved[i] += h;
        session.write_f64("w", &moved)?;
        session.run(&mut store, Segment::Run)?;
        Ok((session.read_f64("loss", &store)?[0], session.read_f64("dw", &store)?[i]))
    };
    for i in [0, 5, 11] {
        let h = 1e-5;
        let numeric = (loss_at(i, h)?.0 - loss_at(i, -h)?.0) / (2.0 * h);
        println!("dloss/dw[{i}]: {:.9} by the backward rule, {numeric:.9} by differences", loss_at(i, 0.0)?.1);
    }
    Ok(())
}
