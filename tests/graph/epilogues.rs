//! What linear layers absorb: residuals, derivatives and casts.

use super::Rig;
use escnet::graph::{Builder, Graph, Segment, StateKind, Store, Value, fuse, gradients, prepare};
use escnet::ops::add_layernorm::add_layernorm;
use escnet::ops::linear::{Activation, Linear, LinearBackwardInput, linear};
use escnet::ops::{add::add, rules, tanh::tanh};
use escnet::{DType, Device, Result, TensorType};

const ROWS: usize = 5;
const WIDTH: usize = 6;

/// The nodes of the run segment by label.
fn labels(graph: &Graph) -> Vec<String> {
    graph.nodes().iter().filter(|n| n.segment == Segment::Run).map(|n| n.op.label()).collect()
}

/// `x W^T + b` with parameters of this name.
fn dense(b: &mut Builder, name: &str, x: Value, out: usize, activation: Activation) -> Result<Value> {
    b.scoped(name, |b| {
        let (_, width) = b.shape(x).rows_and_width();
        let (w, bias) = (b.parameter("w", [out, width])?, b.parameter("b", [out])?);
        linear(b, x, w, Some(bias), activation)
    })
}

/// The sub-layer of a transformer that an MLP is: (its normalised sum, the sum).
fn mlp(b: &mut Builder, name: &str, x: Value) -> Result<(Value, Value)> {
    b.scoped(name, |b| {
        let inner = dense(b, "up", x, 4 * WIDTH, Activation::Gelu)?;
        let inner = dense(b, "down", inner, WIDTH, Activation::None)?;
        let (w, bias) = (b.parameter("norm.w", [WIDTH])?, b.parameter("norm.b", [WIDTH])?);
        add_layernorm(b, inner, x, w, bias, 1e-5)
    })
}

/// Two of them, the second's sum read by others as well, and a plain sum at the end; with the gradients of a few parameters where they are wanted.
fn tower(with_gradients: bool) -> Result<Graph> {
    let mut builder = Builder::new();
    let b = &mut builder;
    let x = b.input("x", TensorType::f32([ROWS, WIDTH]))?;
    let (first, _) = mlp(b, "first", x)?;
    let (second, sum) = mlp(b, "second", first)?;
    let last = dense(b, "last", second, WIDTH, Activation::None)?;
    let y = add(b, sum, last)?;
    b.output("y", y);
    if with_gradients {
        let seed = b.input("seed", TensorType::f32([ROWS, WIDTH]))?;
        let names = ["first.up.w", "first.up.b", "second.down.w", "second.norm.w", "last.b"];
        let wrt: Vec<Value> = names.iter().map(|name| b.graph().named(name).unwrap()).collect();
        for (name, grad) in names.iter().zip(gradients(b, &rules(), &[(y, seed)], &wrt)?) {
            b.output(format!("grad.{name}").as_str(), grad.unwrap());
        }
    }
    Ok(builder.finish())
}

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + seed * 11) % 23) as f32 / 11.0 - 1.0).collect()
}

/// All results of a graph, each with its name.
fn results(graph: &Graph, device: &Device) -> Vec<(String, Vec<f32>)> {
    let mut rig = Rig::on(graph.clone(), Store::new(device));
    for (seed, (_, info, _)) in graph.states().enumerate().filter(|(_, (.., kind))| *kind == StateKind::Parameter) {
        rig.set(&info.name, &numbers(info.ty.len(), seed));
    }
    for (seed, input) in ["x", "seed"].iter().enumerate().filter(|(_, input)| graph.named(input).is_some()) {
        rig.write(input, &numbers(ROWS * WIDTH, 5 + seed));
    }
    rig.run();
    graph.outputs().iter().map(|(name, _)| (name.clone(), rig.read(name))).collect()
}

#[track_caller]
fn assert_alike(got: &[(String, Vec<f32>)], want: &[(String, Vec<f32>)], limit: f32) {
    let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| x * x).sum::<f32>().sqrt();
    for ((name, got), (same, want)) in got.iter().zip(want) {
        let error = norm(&mut got.iter().zip(want).map(|(g, w)| g - w)) / norm(&mut want.iter().copied());
        assert!(name == same && error < limit, "{name}: {error:.1e}");
    }
}

#[test]
fn sums_with_residuals_are_made_where_products_are() {
    let plain = tower(false).unwrap();
    let fused = fuse(plain.clone(), &rules()).unwrap();
    assert_eq!(labels(&fused), ["linear", "linear", "layernorm", "linear", "linear", "layernorm", "linear"]);
    let residuals: Vec<bool> = fused.nodes().iter().filter_map(|n| n.op.downcast::<Linear>()).map(|op| op.residual).collect();
    assert_eq!(residuals, [false, true, false, true, true]);
    // Each runs under its own name.
    let scopes: Vec<&str> =
        fused.nodes().iter().filter(|n| n.op.downcast::<Linear>().is_some_and(|op| op.residual)).map(|n| n.scope.as_str()).collect();
    assert_eq!(scopes[..2], ["first.down", "second.down"]);
    let want = results(&plain, &Device::reference().unwrap());
    assert_alike(&results(&fused, &Device::cpu(2).unwrap()), &want, 1e-5);
}

#[test]
fn derivatives_are_taken_where_gradients_are_made() {
    let plain = tower(true).unwrap();
    let fused = fuse(plain.clone(), &rules()).unwrap();
    let of = |label: &str| labels(&fused).iter().filter(|l| *l == label).count();
    assert_eq!([of("gelu.backward"), of("add_layernorm"), of("add")], [0, 0, labels(&plain).iter().filter(|l| *l == "add").count() - 1]);
    let with: Vec<Activation> = fused.nodes().iter().filter_map(|n| n.op.downcast::<LinearBackwardInput>()).map(|op| op.activation).collect();
    assert_eq!(with.iter().filter(|&&a| a == Activation::Gelu).count(), 2);
    let want = results(&plain, &Device::reference().unwrap());
    assert_alike(&results(&fused, &Device::cpu(2).unwrap()), &want, 1e-5);
}

#[test]
fn in_half_precision_the_residual_stays_f32_and_nothing_is_cast_behind_a_product() {
    let plain = tower(true).unwrap();
    let low = prepare(plain.clone(), &rules(), DType::BF16).unwrap();
    for node in low.nodes() {
        let ty = |v: &Value| low.ty(*v).dtype;
        if let Some(op) = node.op.downcast::<Linear>() {
            assert_eq!(ty(&node.inputs[0]), DType::BF16);
            assert_eq!(ty(&node.outputs[0]) == DType::F32, op.residual, "{op:?}");
        }
        let of_half = node.inputs.iter().any(|v| ty(v) == DType::BF16);
        assert!(node.op.stem() != "cast" || !of_half, "a cast to f32: {:?}", node.inputs);
        if node.op.label() == "linear.backward_weight" {
            assert!(of_half && node.outputs.iter().all(|v| ty(v) == DType::F32));
        }
    }
    let want = results(&plain, &Device::reference().unwrap());
    assert_alike(&results(&low, &Device::cpu(2).unwrap()), &want, 2e-2);
}

#[test]
fn what_others_read_is_left() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([ROWS, WIDTH])).unwrap();
    let y = dense(&mut b, "a", x, WIDTH, Activation::None).unwrap();
    let sum = add(&mut b, y, x).unwrap();
    let other = tanh(&mut b, y).unwrap();
    let bent = dense(&mut b, "b", x, WIDTH, Activation::Gelu).unwrap();
    let bent = add(&mut b, bent, x).unwrap();
    for (name, v) in [("sum", sum), ("other", other), ("bent", bent)] {
        b.output(name, v);
    }
    let graph = b.finish();
    assert_eq!(labels(&fuse(graph, &rules()).unwrap()), ["linear", "add", "tanh", "linear", "add"]);
}
