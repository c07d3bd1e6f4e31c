//! Lesson 1: a tensor, an operator, and the two ways the CPU computes it.
//!
//! An operator is a description: shapes, cost, and code for each device. Nothing is computed until a session runs a graph.
//!
//! `cargo run --example 01_tensor_and_op`

use escnet::graph::{Builder, Options, Segment, Session, Store};
use escnet::ops::gelu::gelu;
use escnet::ops::row;
use escnet::{Device, Result, Tensor, TensorType};

fn main() -> Result<()> {
    // Contiguous, row-major, typed: that is all a tensor is.
    let x = Tensor::from_f32([2, 3], vec![-3.0, -1.0, -0.1, 0.0, 1.0, 3.0])?;
    println!("x is {}: {:?}", x.ty(), x.to_f32());

    // The table knows every operator by its stem.
    let entry = row("gelu").expect("gelu is in the table");
    println!("`{}` has {} cases, and {} a backward rule", entry.stem, (entry.cases)().len(), if entry.backward.is_some() { "has" } else { "lacks" });

    // The same graph in f32 and by the readable f64 code.
    for device in [Device::cpu(0)?, Device::reference()?] {
        let mut b = Builder::new();
        let input = b.input("x", TensorType::f32([2, 3]))?;
        let y = gelu(&mut b, input)?;
        b.output("y", y);
        let mut store = Store::new(&device);
        let mut session = Session::new(b.finish(), &mut store, Options::default())?;
        session.write("x", &x)?;
        session.run(&mut store, Segment::Run)?;
        println!("{:>9}: {:?}", device.name(), session.read_f64("y", &store)?);
    }

    // What it costs, before anything runs: the floor that a kernel is measured against.
    let mut b = Builder::new();
    let input = b.input("x", TensorType::f32([577, 3072]))?;
    let y = gelu(&mut b, input)?;
    b.output("y", y);
    let graph = b.finish();
    let cost = graph.cost(&graph.nodes()[0]);
    println!("gelu of [577, 3072]: {} FLOPs, {} bytes", cost.flops, cost.bytes);
    Ok(())
}
