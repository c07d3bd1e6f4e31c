//! What folds into what, and that nothing else does.

use escnet::graph::{Builder, Graph, Node, Options, Segment, Session, StateKind, Store, Value, fuse, gradients, lower_precision, prepare};
#[cfg(feature = "bench")]
use escnet::model::escnet::Trained;
use escnet::ops::add::add;
use escnet::ops::assign::assign;
use escnet::ops::batchnorm::{BatchNormTraining, batchnorm, batchnorm_training};
use escnet::ops::broadcast_add::broadcast_add;
use escnet::ops::conv2d::{Conv2d, conv2d};
use escnet::ops::elementwise::{Elementwise, Step};
use escnet::ops::linear::{Activation, linear};
use escnet::ops::mul::{mul, mul_rows};
use escnet::ops::{gelu::gelu, relu::relu, reshape::reshape, rules, scale::scale, sigmoid::sigmoid, tanh::tanh};
#[cfg(feature = "bench")]
use escnet::train::{Stage, StepOptions};
use escnet::{DType, Device, Result, Tensor, TensorType};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

const EPS: f64 = 1e-5;

/// How a bottleneck is built.
#[derive(Clone, Copy, PartialEq)]
enum For {
    Inference,
    /// Of normalisations, a sum, and ReLU.
    Training,
    /// With the sum and the last ReLU in the last normalisation.
    TrainingAtOnce,
}

/// A convolution and its normalisation.
fn conv_bn(b: &mut Builder, name: &str, x: Value, filters: usize, kernel: usize, made_for: For) -> Result<Value> {
    conv_bn_and(b, name, x, filters, kernel, made_for, None)
}

/// The same, with ReLU of its sum with a residual.
fn conv_bn_and(b: &mut Builder, name: &str, x: Value, filters: usize, kernel: usize, made_for: For, residual: Option<Value>) -> Result<Value> {
    let channels = b.shape(x)[3];
    b.scoped(name, |b| {
        let w = b.parameter("w", [filters, kernel, kernel, channels])?;
        // The middle one has a bias of its own, which folds too.
        let own = if kernel == 3 { Some(b.parameter("own", [filters])?) } else { None };
        let y = conv2d(b, x, w, own, 1, kernel / 2)?;
        let (weight, bias) = (b.parameter("weight", [filters])?, b.parameter("bias", [filters])?);
        if made_for != For::Inference {
            let activation = if residual.is_some() { Activation::Relu } else { Activation::None };
            return Ok(batchnorm_training(b, y, weight, bias, residual, EPS, activation)?.y);
        }
        let mean = b.state("mean", TensorType::f32([filters]), StateKind::Statistic)?;
        let var = b.state("var", TensorType::f32([filters]), StateKind::Statistic)?;
        batchnorm(b, y, weight, bias, mean, var, EPS)
    })
}

/// ResNet's bottleneck: 1 x 1 and 3 x 3 with ReLU, 1 x 1, plus the input or its projection, ReLU.
fn bottleneck(batch: usize, projected: bool, made_for: For) -> Result<(Builder, Value)> {
    let mut builder = Builder::new();
    let b = &mut builder;
    let channels = if projected { 6 } else { 20 };
    let x = b.input("x", TensorType::f32([batch, 7, 6, channels]))?;
    let skip = if projected { conv_bn(b, "projection", x, 20, 1, made_for)? } else { x };
    let y = conv_bn(b, "conv1", x, 5, 1, made_for)?;
    let y = relu(b, y)?;
    let y = conv_bn(b, "conv2", y, 5, 3, made_for)?;
    let y = relu(b, y)?;
    let y = if made_for == For::TrainingAtOnce {
        conv_bn_and(b, "conv3", y, 20, 1, made_for, Some(skip))?
    } else {
        let y = conv_bn(b, "conv3", y, 20, 1, made_for)?;
        let y = add(b, y, skip)?;
        relu(b, y)?
    };
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
        let (builder, _) = bottleneck(2, projected, For::Inference)?;
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
fn it_does_in_half_precision() -> Result<()> {
    let plain = bottleneck(2, true, For::Inference)?.0.finish();
    let low = prepare(plain.clone(), &rules(), DType::BF16)?;
    assert_eq!(labels(&low), ["cast", "conv2d", "conv2d", "conv2d", "conv2d", "cast"]);
    let x = input(2, 6)?;
    let result = |graph: Graph, device: &Device| {
        let mut store = Store::new(device);
        let mut session = Session::new(graph, &mut store, Options::default())?;
        fill(&mut store)?;
        run(&mut session, &mut store, &x)
    };
    let want = result(plain.clone(), &Device::reference()?)?;
    let (folded, apart) = (result(low, &Device::cpu(2)?)?, result(lower_precision(&plain, &rules(), DType::BF16)?, &Device::cpu(2)?)?);
    let (error, of_apart) = (relative(&folded, &want), relative(&apart, &want));
    assert!(error < 2e-2 && error < 2.0 * of_apart, "{error:.2e}, apart {of_apart:.2e}");
    Ok(())
}

#[test]
fn new_weights_are_folded_anew() -> Result<()> {
    let (builder, _) = bottleneck(1, false, For::Inference)?;
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
        let (builder, _) = bottleneck(batch, true, For::Inference)?;
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

/// A bottleneck in training with the gradients of its weights, and what its results are called.
fn training() -> Result<(Graph, Vec<String>)> {
    with_gradients(bottleneck(2, true, For::Training)?)
}

fn with_gradients((mut b, y): (Builder, Value)) -> Result<(Graph, Vec<String>)> {
    let cotangent = b.input("cotangent", b.ty(y))?;
    let x = b.graph().named("x").into_iter();
    let weights: Vec<Value> = b.graph().states().map(|(v, ..)| v).chain(x).collect();
    let mut results = vec!["y".to_owned()];
    for (n, grad) in gradients(&mut b, &rules(), &[(y, cotangent)], &weights)?.into_iter().enumerate() {
        results.push(format!("grad {n}"));
        b.output(&results[n + 1], grad.ok_or_else(|| escnet::Error::graph("test", "a gradient", "none"))?);
    }
    Ok((b.finish(), results))
}

/// How many convolutions leave moments, and how many normalisations in training take some and take none.
fn moments(graph: &Graph) -> [usize; 3] {
    let count = |is: &dyn Fn(&Node) -> bool| graph.nodes().iter().filter(|node| is(node)).count();
    let norms = |takes: bool| count(&|node| node.op.downcast::<BatchNormTraining>().is_some_and(|norm| norm.moments == takes));
    [count(&|node| node.op.downcast::<Conv2d>().is_some_and(|conv| conv.moments)), norms(true), norms(false)]
}

/// The results of a bottleneck with gradients, run twice.
fn twice(graph: &Graph, names: &[String], device: &Device) -> Result<[Vec<Vec<f64>>; 2]> {
    let mut store = Store::new(device);
    let mut session = Session::new(graph.clone(), &mut store, Options { checked: true, ..Options::default() })?;
    fill(&mut store)?;
    let channels = |name: &str| graph.named(name).and_then(|v| graph.ty(v).shape.last().copied()).unwrap_or(0);
    session.write("x", &input(2, channels("x"))?)?;
    session.write("cotangent", &input(2, channels("cotangent"))?)?;
    let mut run = || -> Result<Vec<Vec<f64>>> {
        session.run(&mut store, Segment::Run)?;
        names.iter().map(|name| session.read_f64(name, &store)).collect()
    };
    Ok([run()?, run()?])
}

#[test]
fn in_training_convolutions_leave_moments_and_nothing_else_folds() -> Result<()> {
    let (plain, names) = training()?;
    let fused = fuse(plain.clone(), &rules())?;
    assert_eq!(labels(&fused), labels(&plain));
    assert_eq!((moments(&plain), moments(&fused)), ([0, 0, 4], [4, 4, 0]));
    let ([want, _], device) = (twice(&plain, &names, &Device::reference()?)?, Device::cpu(2)?);
    let [got, again] = twice(&fused, &names, &device)?;
    assert_eq!(got, again);
    // A bias before the normalisation makes no difference: its gradient is 0, and what comes out is what rounding leaves.
    for (name, (got, want)) in names.iter().zip(got.iter().zip(&want)).filter(|(_, (_, want))| want.iter().any(|x| x.abs() > 1e-9)) {
        assert!(relative(got, want) < 1e-5, "{name}: {:.2e}", relative(got, want));
    }
    Ok(())
}

#[test]
fn a_bottleneck_s_end_at_once_has_the_bits_of_its_parts() -> Result<()> {
    for projected in [false, true] {
        let build = |made_for: For| with_gradients(bottleneck(2, projected, made_for)?);
        let ((apart, names), (whole, same_names)) = (build(For::Training)?, build(For::TrainingAtOnce)?);
        assert_eq!(names, same_names);
        let (apart, whole) = (fuse(apart, &rules())?, fuse(whole, &rules())?);
        assert_eq!(moments(&whole), moments(&apart));
        let count = |graph: &Graph, label: &str| labels(graph).iter().filter(|l| *l == label).count();
        // Of the sums the last is gone; where the residual is x, its gradient is a sum of two.
        for (label, of_end) in [("add", 1), ("relu", 1), ("relu.backward", 1), ("batchnorm.training", 0), ("batchnorm.training_backward", 0)] {
            assert_eq!(count(&apart, label), count(&whole, label) + of_end, "{label}");
        }
        let device = Device::cpu(2)?;
        assert_eq!(twice(&whole, &names, &device)?, twice(&apart, &names, &device)?, "projected: {projected}");
    }
    Ok(())
}

#[test]
fn in_half_precision_moments_are_of_what_is_stored() -> Result<()> {
    let (plain, _) = training()?;
    let low = prepare(plain, &rules(), DType::BF16)?;
    assert_eq!(moments(&low), [4, 4, 0]);
    for node in low.nodes().iter().filter(|node| node.op.downcast::<Conv2d>().is_some()) {
        assert_eq!([0, 1].map(|o| low.ty(node.outputs[o]).dtype), [DType::BF16, DType::F32]);
    }
    Ok(())
}

#[test]
#[cfg(feature = "bench")]
fn all_of_a_model_s_convolutions_leave_moments_in_training() -> Result<()> {
    let stage = Stage::Classify { batch: 2, words: 7, trained: Trained::ALL };
    let graph = escnet::train::build(&escnet::bench::parts::model("escnet-tiny")?, stage, &StepOptions::default())?.graph;
    for dtype in [DType::F32, DType::BF16] {
        let [leave, take, others] = moments(&prepare(graph.clone(), &rules(), dtype)?);
        assert!(leave > 10 && leave == take && others == 0, "{dtype}: {leave}, {take}, {others}");
    }
    Ok(())
}

/// What the backbone runs forward in a graph, by label.
#[cfg(feature = "bench")]
fn of_backbone(graph: &Graph) -> std::collections::BTreeMap<String, usize> {
    let mut counts = std::collections::BTreeMap::new();
    let runs = |node: &&Node| node.segment == Segment::Run && node.scope.starts_with("backbone") && !node.op.label().contains("backward");
    graph.nodes().iter().filter(runs).for_each(|node| *counts.entry(node.op.label()).or_insert(0) += 1);
    counts
}

#[test]
#[cfg(feature = "bench")]
fn of_a_model_s_backbone_no_sum_and_no_relu_is_left() -> Result<()> {
    let model = escnet::bench::parts::model("escnet-tiny")?;
    let stage = Stage::Classify { batch: 2, words: 7, trained: Trained::ALL };
    let training = prepare(escnet::train::build(&model, stage, &StepOptions::default())?.graph, &rules(), DType::F32)?;
    let of_training = of_backbone(&training);
    let ends = training.nodes().iter().filter(|node| node.op.downcast::<BatchNormTraining>().is_some_and(|norm| norm.residual));
    assert_eq!(ends.count(), model.backbone.layers.iter().sum::<usize>());
    let labels = |counts: &std::collections::BTreeMap<String, usize>| counts.keys().cloned().collect::<Vec<_>>();
    // The sums are of gradients, where two read a feature map.
    assert_eq!(labels(&of_training), ["add", "batchnorm.stage", "batchnorm.training", "conv2d", "maxpool2d"]);
    assert_eq!(of_training["add"], model.backbone.layers.iter().sum::<usize>());
    let mut b = Builder::new();
    let size = model.image_size;
    let image = b.input("image", TensorType::f32([2, size, size, 3]))?;
    let features = escnet::model::backbone::backbone(&mut b, &model.backbone, image, None)?;
    b.output("features", features.layers[3]);
    for (dtype, expected) in [(DType::F32, &["conv2d", "maxpool2d"][..]), (DType::BF16, &["cast", "conv2d", "maxpool2d"])] {
        assert_eq!(labels(&of_backbone(&prepare(b.graph().clone(), &rules(), dtype)?)), expected, "{dtype}");
    }
    Ok(())
}

#[test]
fn a_convolution_that_two_read_leaves_moments_to_those_that_want_them() -> Result<()> {
    let mut builder = Builder::new();
    let b = &mut builder;
    let x = b.input("x", TensorType::f32([2, 7, 6, 20]))?;
    let w = b.parameter("w", [3, 1, 1, 20])?;
    let (made, weight) = (conv2d(b, x, w, None, 1, 0)?, b.parameter("weight", [3])?);
    for (name, twice) in [("y", false), ("z", false), ("of another", true)] {
        let x = if twice { scale(b, made, 2.0)? } else { made };
        let y = batchnorm_training(b, x, weight, weight, None, EPS, Activation::None)?.y;
        b.output(name, y);
    }
    assert_eq!(moments(&fuse(builder.finish(), &rules())?), [1, 2, 1]);
    Ok(())
}

/// The graph that is built on x [60, 35], several blocks that end within a row, and the weights `a` of that shape, `row` [35] and
/// `g` [60].
fn elementwise(build: impl FnOnce(&mut Builder, [Value; 4]) -> Result<Value>) -> Result<Graph> {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([60, 35]))?;
    let weights = [b.parameter("a", [60, 35])?, b.parameter("row", [35])?, b.parameter("g", [60])?];
    let y = build(&mut b, [x, weights[0], weights[1], weights[2]])?;
    b.output("y", y);
    Ok(b.finish())
}

/// `y` for a fixed x.
fn result(graph: Graph, device: &Device) -> Result<Vec<f64>> {
    let mut store = Store::new(device);
    let mut session = Session::new(graph, &mut store, Options { checked: true, ..Options::default() })?;
    fill(&mut store)?;
    let mut rng = StdRng::seed_from_u64(5);
    let x = Tensor::from_f32([60, 35], (0..2100).map(|_| rng.random_range(-2.0..2.0)).collect())?;
    run(&mut session, &mut store, &x)
}

/// Fuses, expects these operators, and the same bits as without fusion and numbers close to those in f64.
fn folds_into(plain: Graph, expected: &[&str]) -> Result<Graph> {
    let fused = fuse(plain.clone(), &rules())?;
    assert_eq!(labels(&fused), expected);
    let device = Device::cpu(2)?;
    let got = result(fused.clone(), &device)?;
    assert_eq!(got, result(plain.clone(), &device)?);
    assert!(relative(&got, &result(plain, &Device::reference()?)?) < 1e-5);
    Ok(fused)
}

#[test]
fn a_chain_of_element_wise_operators_becomes_one() -> Result<()> {
    let four = elementwise(|b, [x, a, ..]| {
        let y = add(b, x, a)?;
        let y = tanh(b, y)?;
        let y = scale(b, y, 0.7)?;
        mul(b, a, y)
    })?;
    let fused = folds_into(four, &["elementwise"])?;
    let op = fused.nodes()[0].op.downcast::<Elementwise>();
    assert_eq!(op.map(|op| &op.steps[..]), Some(&[Step::Add, Step::Tanh, Step::Scale(0.7), Step::Mul][..]));

    let every = elementwise(|b, [x, a, row, g]| {
        let y = broadcast_add(b, x, row)?;
        let y = gelu(b, y)?;
        let y = mul_rows(b, y, g)?;
        let y = add(b, a, y)?;
        let y = relu(b, y)?;
        let y = sigmoid(b, y)?;
        mul(b, y, a)
    })?;
    folds_into(every, &["elementwise"])?;
    Ok(())
}

#[test]
fn of_two_chains_that_meet_one_goes_on() -> Result<()> {
    let graph = elementwise(|b, [x, a, ..]| {
        let left = add(b, x, a)?;
        let left = tanh(b, left)?;
        let right = mul(b, x, a)?;
        let right = sigmoid(b, right)?;
        let sum = add(b, left, right)?;
        scale(b, sum, -3.0)
    })?;
    folds_into(graph, &["elementwise", "elementwise"])?;
    Ok(())
}

#[test]
fn what_is_read_twice_or_has_a_name_is_not_swallowed() -> Result<()> {
    let twice = elementwise(|b, [x, ..]| {
        let t = tanh(b, x)?;
        let y = relu(b, t)?;
        add(b, y, t)
    })?;
    folds_into(twice, &["tanh", "elementwise"])?;
    let squared = elementwise(|b, [x, ..]| {
        let t = tanh(b, x)?;
        mul(b, t, t)
    })?;
    folds_into(squared, &["tanh", "mul"])?;
    let named = elementwise(|b, [x, ..]| {
        let t = tanh(b, x)?;
        b.output("t", t);
        relu(b, t)
    })?;
    folds_into(named, &["tanh", "relu"])?;
    Ok(())
}

#[test]
fn what_depends_on_weights_alone_is_prepared_rather_than_swallowed() -> Result<()> {
    let graph = elementwise(|b, [x, a, ..]| {
        let t = tanh(b, a)?;
        let y = add(b, t, x)?;
        relu(b, y)
    })?;
    let fused = folds_into(graph, &["elementwise"])?;
    assert!(fused.nodes().iter().any(|n| n.segment == Segment::Prepare && n.op.label() == "tanh"));
    Ok(())
}

#[test]
fn a_chain_crosses_neither_segments_nor_a_change_of_its_state() -> Result<()> {
    // The state itself, and under another shape.
    for viewed in [false, true] {
        let changed = elementwise(|b, [x, a, ..]| {
            let s = b.state("s", TensorType::f32([60, 35]), StateKind::Cache)?;
            let view = if viewed { reshape(b, s, [35, 60])? } else { s };
            let before = tanh(b, view)?;
            let new = mul(b, x, a)?;
            assign(b, s, new)?;
            let before = scale(b, before, 2.0)?;
            let before = reshape(b, before, [60, 35])?;
            let after = relu(b, s)?;
            add(b, after, before)
        })?;
        let fused = fuse(changed, &rules())?;
        assert_eq!(labels(&fused).iter().filter(|l| *l != "reshape").collect::<Vec<_>>(), ["tanh", "mul", "assign", "scale", "elementwise"]);
    }
    let segments = elementwise(|b, [x, ..]| {
        let y = tanh(b, x)?;
        b.set_segment(Segment::Apply);
        relu(b, y)
    })?;
    assert_eq!(fuse(segments, &rules())?.nodes().len(), 2);
    Ok(())
}

#[test]
fn in_half_precision_a_chain_rounds_once() -> Result<()> {
    let plain = elementwise(|b, [x, a, ..]| {
        let product = |b: &mut Builder| linear(b, x, a, None, Activation::None);
        let (y, z) = (product(b)?, product(b)?);
        let y = add(b, y, z)?;
        let y = scale(b, y, 1.0 / 3.0)?;
        let y = tanh(b, y)?;
        scale(b, y, 3.0)
    })?;
    let truth = result(plain.clone(), &Device::reference()?)?;
    let low = lower_precision(&plain, &rules(), DType::BF16)?;
    let fused = fuse(low.clone(), &rules())?;
    assert_eq!(labels(&fused), ["cast", "linear", "linear", "elementwise", "cast"]);
    let device = Device::cpu(2)?;
    let (got, each) = (result(fused, &device)?, result(low, &device)?);
    assert!(got.iter().all(|x| (*x as f32).to_bits() & 0xffff == 0), "numbers that bf16 can hold");
    let (error, of_each) = (relative(&got, &truth), relative(&each, &truth));
    assert!(error < of_each && error < 1.0 / 128.0, "{error:.2e}, rounded at each step {of_each:.2e}");
    Ok(())
}
