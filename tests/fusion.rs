//! What folds into what, and that nothing else does.

use escnet::graph::{Builder, Graph, Options, Segment, Session, StateKind, Store, Value, fuse, gradients};
use escnet::ops::add::add;
use escnet::ops::batchnorm::{batchnorm, batchnorm_training};
use escnet::ops::conv2d::{Conv2d, conv2d};
use escnet::ops::linear::Activation;
use escnet::ops::relu::relu;
use escnet::ops::rules;
use escnet::{Device, Result, Tensor, TensorType};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

const EPS: f64 = 1e-5;

/// A convolution and its normalisation, in inference or in training.
fn conv_bn(b: &mut Builder, name: &str, x: Value, filters: usize, kernel: usize, training: bool) -> Result<Value> {
    let channels = b.shape(x)[3];
    b.scoped(name, |b| {
        let w = b.parameter("w", [filters, kernel, kernel, channels])?;
        // The middle one has a bias of its own, which folds too.
        let own = if kernel == 3 { Some(b.parameter("own", [filters])?) } else { None };
        let y = conv2d(b, x, w, own, 1, kernel / 2)?;
        let (weight, bias) = (b.parameter("weight", [filters])?, b.parameter("bias", [filters])?);
        if training {
            return Ok(batchnorm_training(b, y, weight, bias, EPS, Activation::None)?.y);
        }
        let mean = b.state("mean", TensorType::f32([filters]), StateKind::Statistic)?;
        let var = b.state("var", TensorType::f32([filters]), StateKind::Statistic)?;
        batchnorm(b, y, weight, bias, mean, var, EPS)
    })
}

/// ResNet's bottleneck: 1 x 1 and 3 x 3 with ReLU, 1 x 1, plus the input or its projection, ReLU.
fn bottleneck(batch: usize, projected: bool, training: bool) -> Result<(Builder, Value)> {
    let mut builder = Builder::new();
    let b = &mut builder;
    let channels = if projected { 6 } else { 20 };
    let x = b.input("x", TensorType::f32([batch, 7, 6, channels]))?;
    let y = conv_bn(b, "conv1", x, 5, 1, training)?;
    let y = relu(b, y)?;
    let y = conv_bn(b, "conv2", y, 5, 3, training)?;
    let y = relu(b, y)?;
    let y = conv_bn(b, "conv3", y, 20, 1, training)?;
    let skip = if projected { conv_bn(b, "projection", x, 20, 1, training)? } else { x };
    let y = add(b, y, skip)?;
    let y = relu(b, y)?;
    b.output("y", y);
    Ok((builder, y))
}

/// The nodes of the run segment, each as its operator's label.
fn labels(graph: &Graph) -> Vec<String> {
    graph.nodes().iter().filter(|n| n.segment == Segment::Run).map(|n| n.op.label()).collect()
}

/// Fills the store's weights with numbers that depend on names alone.
fn fill(store: &mut Store) -> Result<()> {
    let entries: Vec<_> = store.entries().filter(|(_, _, kind)| kind.is_weight()).map(|(name, ty, _)| (name.to_owned(), ty)).collect();
    for (name, ty) in entries {
        let mut rng = StdRng::seed_from_u64(name.bytes().map(u64::from).fold(7, |h, b| h.wrapping_mul(31) + b));
        // Variances must be positive; the rest may be.
        store.write(
            &name,
            &Tensor::from_f32(ty.shape, (0..ty.len()).map(|_| rng.random_range(0.1..1.0) - if name.ends_with("var") { 0.0 } else { 0.4 }).collect())?,
        )?;
    }
    Ok(())
}

fn input(batch: usize, channels: usize) -> Result<Tensor> {
    let mut rng = StdRng::seed_from_u64(3);
    Tensor::from_f32([batch, 7, 6, channels], (0..batch * 42 * channels).map(|_| rng.random_range(-1.0..1.0)).collect())
}

fn run(session: &mut Session, store: &mut Store, x: &Tensor) -> Result<Vec<f64>> {
    session.write("x", x)?;
    session.run(store, Segment::Run)?;
    session.read_f64("y", store)
}

fn relative(got: &[f64], want: &[f64]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(want).map(|(g, w)| g - w)) / norm(&mut want.iter().copied())
}

#[test]
fn a_bottleneck_becomes_its_convolutions() -> Result<()> {
    for projected in [false, true] {
        let (builder, _) = bottleneck(2, projected, false)?;
        let plain = builder.finish();
        let fused = fuse(plain.clone(), &rules())?;
        assert_eq!(labels(&fused), vec!["conv2d"; if projected { 4 } else { 3 }]);
        let last = fused.nodes().iter().rfind(|n| n.segment == Segment::Run).and_then(|n| n.op.downcast::<Conv2d>().copied());
        assert!(matches!(last, Some(Conv2d { residual: true, bias: true, activation: Activation::Relu, .. })));

        let x = input(2, if projected { 6 } else { 20 })?;
        let mut truth = Store::new(&Device::reference()?);
        let mut session = Session::new(plain, &mut truth, Options::default())?;
        fill(&mut truth)?;
        let want = run(&mut session, &mut truth, &x)?;
        let mut store = Store::new(&Device::cpu(2)?);
        let mut session = Session::new(fused, &mut store, Options { checked: true, ..Options::default() })?;
        fill(&mut store)?;
        assert!(relative(&run(&mut session, &mut store, &x)?, &want) < 1e-5);
        // The input is still needed elsewhere, or is the caller's: the residual may not be overwritten.
        assert!(relative(&run(&mut session, &mut store, &x)?, &want) < 1e-5);
    }
    Ok(())
}

#[test]
fn new_weights_are_folded_anew() -> Result<()> {
    let (builder, _) = bottleneck(1, false, false)?;
    let mut store = Store::new(&Device::cpu(1)?);
    let mut session = Session::new(fuse(builder.finish(), &rules())?, &mut store, Options::default())?;
    fill(&mut store)?;
    let x = input(1, 20)?;
    let before = run(&mut session, &mut store, &x)?;
    store.write("conv1.var", &Tensor::from_f32([5], vec![9.0; 5])?)?;
    let after = run(&mut session, &mut store, &x)?;
    assert!(relative(&after, &before) > 1e-3);
    Ok(())
}

#[test]
fn sessions_of_two_batch_sizes_share_what_is_derived() -> Result<()> {
    let mut store = Store::new(&Device::cpu(2)?);
    let mut seen = Vec::new();
    for batch in [1, 3] {
        let (builder, _) = bottleneck(batch, true, false)?;
        let mut session = Session::new(fuse(builder.finish(), &rules())?, &mut store, Options::default())?;
        if batch == 1 {
            fill(&mut store)?;
        }
        let y = run(&mut session, &mut store, &input(batch, 6)?)?;
        seen.push((store.entries().count(), store.resident_bytes(), y));
    }
    let [(entries, bytes, one), (more_entries, more_bytes, three)] = &seen[..] else { unreachable!() };
    assert_eq!((entries, bytes), (more_entries, more_bytes));
    assert!(relative(&three[..one.len()], one) < 1e-6, "the first picture of three is the only picture of one");
    Ok(())
}

#[test]
fn in_training_nothing_folds() -> Result<()> {
    let (mut b, y) = bottleneck(2, true, true)?;
    let cotangent = b.input("cotangent", b.ty(y))?;
    let weights: Vec<Value> = b.graph().states().map(|(v, ..)| v).collect();
    for (n, grad) in gradients(&mut b, &rules(), &[(y, cotangent)], &weights)?.into_iter().enumerate() {
        b.output(&format!("grad {n}"), grad.ok_or_else(|| escnet::Error::graph("test", "a gradient", "none"))?);
    }
    let plain = b.finish();
    let fused = fuse(plain.clone(), &rules())?;
    assert_eq!(labels(&fused), labels(&plain));
    Ok(())
}
