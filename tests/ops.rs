//! Every operator's cases on every device, a named test each: `cargo nextest run --test ops attention`.
//!
//! * `cases`: f32 on the CPU against f64, outputs NaN-poisoned, guard bands behind every buffer; bit-equal on repeat and for any number
//!   of threads.
//! * `gradients`: the f64 gradients against finite differences in f64.
//! * `wgpu`: the same through wgpu, where the case and its gradients have WGSL kernels; with the golden numbers.
//! * `cuda`: the same through CUDA: on a GPU, or on its stand-in (`tools/cuda_on_cpu/run`).
//! * `cuda_half`, `cuda_bf16`: with numbers stored in 16 bits, for operators that compute so; `cuda_bf16_mma64` and the like where an operator has several
//!   kernels to choose among, each of which is made to take all cases.
//! * `wgpu_portable`: one case of each operator, its largest, with no more than every WebGPU device has.
//! * `wgpu_tiles128x64` and the like: the largest cases that such a variant takes, where an operator has several to choose among, each made to take them.
//! * `wgpu_half`: with numbers stored in f16, for operators that compute so.
//! * `wgpu_in_pieces`: all cases of an operator on a GPU that sees half of their largest tensor at once.
//! * `golden`: PyTorch's numbers for the operator.
//! * `faults`: faults put into CUDA's kernels and launches, which some case has to notice.

mod common;
#[cfg(all(feature = "cuda", feature = "train"))]
mod faults;

use common::beam_search::searches;
use common::cases;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use escnet::DType;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use escnet::graph::Precision;
use escnet::graph::{Builder, Options, Segment, Session, Store, Value, gradients};
use escnet::ops::cross_entropy::cross_entropy;
use escnet::ops::maxpool2d::MaxPool2d;
use escnet::ops::relu::relu;
use escnet::ops::softmax::softmax;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use escnet::ops::support::case::Case;
use escnet::ops::variable_weight_loss::{LossConfig, LossKind, variable_weight_loss};
use escnet::ops::{TABLE, rules};
use escnet::{Device, Tensor, TensorType};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    // A missing device is no failure, unless it is said to be one.
    #[cfg(feature = "wgpu")]
    let [no_gpu, no_half, no_fragments] = common::missing();
    #[cfg(feature = "cuda")]
    let no_cuda = common::no_cuda();
    // Whoever runs each test in a process of its own asks for one by its whole name: then the cases of its operator are made alone.
    let asked = |stem: &str| !arguments.exact || arguments.filter.as_deref().is_none_or(|name| name.split("::").next() == Some(stem));
    for row in TABLE.iter().filter(|row| asked(row.stem)) {
        let stem = row.stem;
        for case in (row.cases)().into_iter().filter(|c| !c.large) {
            let (a, b) = (case.clone(), case.clone());
            let name = case.name.replace(' ', "_");
            #[cfg(feature = "wgpu")]
            if row.wgpu == escnet::ops::Kernel::Own && !cases::holds(&case, DType::BF16) {
                let through = |kind: &str, case: Case, missing: bool| {
                    let run = move || cases::on_gpu(stem, &case, &common::gpu()?).map_err(Failed::from);
                    Trial::test(format!("{stem}::{kind}::{name}"), run).with_ignored_flag(missing)
                };
                let is_half = cases::holds(&case, DType::F16);
                if !is_half {
                    trials.push(through("wgpu", case.clone(), no_gpu));
                }
                // An embedding follows its tables, which are parameters and stay f32.
                if is_half || (row.precision != Precision::Full && stem != "embedding") {
                    trials.push(through("wgpu_half", cases::stored_as(&case, DType::F16), no_half));
                }
            }
            #[cfg(feature = "cuda")]
            if row.cuda == escnet::ops::Kernel::Own {
                let through = |kind: &str, case: Case| {
                    let run = move || cases::on_gpu(stem, &case, &common::cuda()?).map_err(Failed::from);
                    Trial::test(format!("{stem}::{kind}::{name}"), run).with_ignored_flag(no_cuda)
                };
                let is_half = cases::holds(&case, DType::F16) || cases::holds(&case, DType::BF16);
                trials.push(through("cuda", case.clone()));
                // The largest have more of the same blocks: these are left to the variant that the device chooses.
                let variants = if case.inputs.iter().map(|i| i.ty.len()).sum::<usize>() > 200_000 { &[] } else { row.variants };
                if !is_half && row.precision != Precision::Full && stem != "embedding" {
                    for (kind, dtype) in [("cuda_half", DType::F16), ("cuda_bf16", DType::BF16)] {
                        let case = cases::stored_as(&case, dtype);
                        if variants.is_empty() {
                            trials.push(through(kind, case.clone()));
                        }
                        for variant in variants {
                            let Some(case) = cases::for_variant(&case, variant) else { continue };
                            let run = move || cases::on_variant(row, &case, variant).map_err(Failed::from);
                            trials.push(Trial::test(format!("{stem}::{kind}_{variant}::{name}"), run).with_ignored_flag(no_cuda));
                        }
                    }
                }
            }
            trials.push(Trial::test(format!("{stem}::cases::{name}"), move || cases::against_f64(stem, &a).map_err(Failed::from)));
            if case.inputs.iter().any(|i| i.gradient) {
                trials.push(Trial::test(format!("{stem}::gradients::{name}"), move || cases::finite_differences(stem, &b).map_err(Failed::from)));
            }
        }
        #[cfg(feature = "wgpu")]
        if row.wgpu == escnet::ops::Kernel::Own
            && let Some(case) = largest((row.cases)())
        {
            let name = format!("{stem}::wgpu_portable::{}", case.name.replace(' ', "_"));
            let run = move || cases::on_gpu(stem, &case, &common::portable_gpu()?).map_err(Failed::from);
            trials.push(Trial::test(name, run).with_ignored_flag(no_gpu));
            trials.push(Trial::test(format!("{stem}::wgpu_in_pieces"), move || in_pieces(row)).with_ignored_flag(no_gpu));
            for variant in row.wgpu_variants {
                let missing = if *variant == "fragments" { no_fragments } else { no_gpu };
                trials.push(Trial::test(format!("{stem}::wgpu_{variant}"), move || on_wgpu_variant(row, variant)).with_ignored_flag(missing));
            }
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/ops/{stem}.safetensors"));
        if row.golden.is_some() {
            #[cfg(feature = "wgpu")]
            if row.wgpu == escnet::ops::Kernel::Own {
                let path = path.clone();
                let trial = Trial::test(format!("{stem}::wgpu::golden"), move || golden(&path, &common::gpu()?));
                trials.push(trial.with_ignored_flag(no_gpu));
            }
            #[cfg(feature = "cuda")]
            if row.cuda == escnet::ops::Kernel::Own {
                let path = path.clone();
                trials.push(Trial::test(format!("{stem}::cuda::golden"), move || golden(&path, &common::cuda()?)).with_ignored_flag(no_cuda));
            }
            trials.push(Trial::test(format!("{stem}::golden"), move || golden(&path, &Device::cpu(2)?)));
        } else if path.exists() {
            trials.push(Trial::test(format!("{stem}::golden"), move || Err("a golden file, but no golden build in the row".into())));
        }
    }
    for (stem, name, test) in BY_HAND {
        trials.push(Trial::test(format!("{stem}::cases::{name}"), move || test(&Device::cpu(1)?)));
        #[cfg(feature = "wgpu")]
        trials.push(Trial::test(format!("{stem}::wgpu::{name}"), move || test(&common::gpu()?)).with_ignored_flag(no_gpu));
        #[cfg(feature = "cuda")]
        trials.push(Trial::test(format!("{stem}::cuda::{name}"), move || test(&common::cuda()?)).with_ignored_flag(no_cuda));
    }
    for (stem, build) in NAN_COMES_THROUGH {
        trials.push(Trial::test(format!("{stem}::cases::nan_comes_through"), move || nan_comes_through(build, &Device::cpu(1)?)));
        #[cfg(feature = "cuda")]
        {
            let trial = Trial::test(format!("{stem}::cuda::nan_comes_through"), move || nan_comes_through(build, &common::cuda()?));
            trials.push(trial.with_ignored_flag(no_cuda));
        }
    }
    #[cfg(all(feature = "cuda", feature = "train"))]
    if asked("faults") {
        trials.extend(faults::trials());
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// The case with the most numbers, of those that are neither large nor in half precision.
#[cfg(feature = "wgpu")]
fn largest(cases: Vec<Case>) -> Option<Case> {
    let fits = |case: &Case| !case.large && ![DType::F16, DType::BF16].iter().any(|&dtype| cases::holds(case, dtype));
    cases.into_iter().filter(fits).max_by_key(|case| case.inputs.iter().map(|i| i.ty.len()).sum::<usize>())
}

/// Nodes that are never cut: their tensors are a model's parameters or smaller.
#[cfg(feature = "wgpu")]
const WHOLE: [&str; 8] = [
    "advance",
    "batchnorm.fold",
    "batchnorm.stage",
    "beam_step",
    "gather.reorder",
    "loss_scale",
    "variable_weight_loss",
    "variable_weight_loss.backward",
];

/// Of each of the operator's passes some node was cut, unless none ever is.
#[cfg(feature = "wgpu")]
fn in_pieces(row: &escnet::ops::Row) -> Result<(), Failed> {
    let [_, no_half, _] = common::missing();
    let mut cut = std::collections::BTreeMap::new();
    for case in (row.cases)().into_iter().filter(|case| !case.large && !cases::holds(case, DType::BF16)) {
        let half = !no_half && row.precision != Precision::Full && row.stem != "embedding";
        let kinds = [(!cases::holds(&case, DType::F16) || !no_half).then(|| case.clone()), half.then(|| cases::stored_as(&case, DType::F16))];
        for case in kinds.into_iter().flatten() {
            let nodes = cases::in_pieces(row.stem, &case).map_err(|e| format!("{}: {e}", case.name))?;
            let own = nodes.into_iter().filter(|(label, _)| label.split('.').next() == Some(row.stem));
            own.for_each(|(label, is_cut)| *cut.entry(label).or_insert(false) |= is_cut);
        }
    }
    let wrong: Vec<_> = cut.iter().filter(|(label, is_cut)| WHOLE.contains(&label.as_str()) == **is_cut).collect();
    let none = cut.is_empty() && !WHOLE.contains(&row.stem);
    if wrong.is_empty() && !none { Ok(()) } else { Err(format!("cut in no case, or though it never is: {cut:?}").into()) }
}

/// The largest cases that the variant takes, but those whose reference would take long: these have most tiles, strips and parts, and a driver in software compiles for a
/// second or more for each. As f16 where the variant is for that alone.
#[cfg(feature = "wgpu")]
fn on_wgpu_variant(row: &escnet::ops::Row, variant: &'static str) -> Result<(), Failed> {
    const SOME: usize = 4;
    let device = common::gpu()?.with_variant(variant).ok_or("no variants")?;
    let size = |case: &Case| case.inputs.iter().map(|i| i.ty.len()).sum::<usize>();
    let small = (row.cases)().into_iter().filter(|case| !case.large && size(case) <= 100_000);
    let stored = small.map(|case| if variant == "fragments" { cases::stored_as(&case, DType::F16) } else { case });
    let mut taken: Vec<Case> = stored.filter_map(|case| cases::for_wgpu_variant(&case, variant)).collect();
    taken.sort_by_key(|case| std::cmp::Reverse(size(case)));
    if taken.len() < SOME {
        return Err(format!("{} cases", taken.len()).into());
    }
    let each = |case: &Case| cases::on_wgpu_variant(row, case, variant, &device).map_err(|e| format!("{}: {e}", case.name).into());
    taken.iter().take(SOME).try_for_each(each)
}

fn golden(path: &Path, device: &Device) -> Result<(), Failed> {
    let comparisons = escnet::verify::operator_file(path, device, escnet::DType::F32)?;
    let failed: Vec<String> =
        comparisons.iter().filter(|c| !c.passed()).map(|c| format!("{}: error {:.2e}, limit {:.2e}", c.name, c.error, c.limit)).collect();
    if comparisons.is_empty() {
        return Err("nothing compared".into());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
}

type OnDevice = fn(&Device) -> Result<(), Failed>;

/// What no error against f64 tells, on every device.
const BY_HAND: [(&str, &str, OnDevice); 4] = [
    ("beam_step", "searches_as_written_down", |device| searches(device).map_err(Failed::from)),
    ("maxpool2d", "the_first_of_equals_wins_and_so_does_nan", first_of_equals_and_nan),
    ("cross_entropy", "a_label_that_is_no_class_makes_nan", |device| no_class(device, |b, x, labels| cross_entropy(b, x, labels, None, 0.1, -100))),
    ("variable_weight_loss", "a_label_that_is_no_class_makes_nan", |device| {
        let config = LossConfig { kind: LossKind::Focal, lambda: 1.0, gamma: 2.0, label_smoothing: 0.1, class_weights: None };
        no_class(device, |b, x, labels| variable_weight_loss(b, x, labels, config, None))
    }),
];

/// The loss becomes NaN, and so does the gradient of the rows with such labels alone.
fn no_class(device: &Device, loss: impl FnOnce(&mut Builder, Value, Value) -> escnet::Result<Value>) -> Result<(), Failed> {
    let mut b = Builder::new();
    let (x, labels) = (b.input("x", TensorType::f32([3, 2]))?, b.input("labels", TensorType::i32([3]))?);
    let y = loss(&mut b, x, labels)?;
    let one = b.constant(Tensor::from_f32([], vec![1.0])?);
    let dx = gradients(&mut b, &rules(), &[(y, one)], &[x])?[0].ok_or("no gradient")?;
    b.output("y", y);
    b.output("dx", dx);
    let mut store = Store::new(device);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    session.write("x", &Tensor::from_f32([3, 2], vec![0.5; 6])?)?;
    session.write("labels", &Tensor::from_i32([3], vec![2, 1, -1])?)?;
    session.run(&mut store, Segment::Run)?;
    let (y, dx) = (session.read("y", &mut store)?.to_f32(), session.read("dx", &mut store)?.to_f32());
    let is_nan: Vec<bool> = y.iter().chain(&dx).map(|x| x.is_nan()).collect();
    if is_nan == [true, true, true, false, false, true, true] { Ok(()) } else { Err(format!("{y:?}, {dx:?}").into()) }
}

/// Which pixel is saved, and what NaN does.
fn first_of_equals_and_nan(device: &Device) -> Result<(), Failed> {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([1, 4, 4, 1]))?;
    let outputs = b.apply(MaxPool2d { kernel: 2, stride: 2, padding: 0 }, &[x])?;
    b.output("y", outputs[0]);
    b.output("winners", outputs[1]);
    let mut store = Store::new(device);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    let (low, nan) = (f32::NEG_INFINITY, f32::NAN);
    #[rustfmt::skip]
    let x = vec![
        1.0, 1.0, -3.0, -2.0,
        1.0, 0.0, -2.0, -2.0,
        low, low,  5.0,  6.0,
        low, low,  nan,  7.0,
    ];
    session.write("x", &Tensor::from_f32([1, 4, 4, 1], x)?)?;
    session.run(&mut store, Segment::Run)?;
    let (y, winners) = (session.read("y", &mut store)?.to_f32(), session.read("winners", &mut store)?);
    let is_right = y[..3] == [1.0, -2.0, low] && y[3].is_nan() && winners.as_i32() == Some(&[0, 3, 8, 14][..]);
    if is_right { Ok(()) } else { Err(format!("{y:?}, {winners:?}").into()) }
}

type Build = fn(&mut Builder, Value) -> escnet::Result<Value>;

/// Operators whose results are NaN where they saw one. In WGSL that is left open.
const NAN_COMES_THROUGH: [(&str, Build); 2] = [("relu", relu), ("softmax", softmax)];

/// A NaN among the numbers of the first row, none in the second.
fn nan_comes_through(build: Build, device: &Device) -> Result<(), Failed> {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([2, 3]))?;
    let y = build(&mut b, x)?;
    b.output("y", y);
    let mut store = Store::new(device);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    session.write("x", &Tensor::from_f32([2, 3], vec![1.0, f32::NAN, 2.0, 1.0, 2.0, 3.0])?)?;
    session.run(&mut store, Segment::Run)?;
    let y = session.read("y", &mut store)?.to_f32();
    if y[1].is_nan() && y[3..].iter().all(|v| v.is_finite()) { Ok(()) } else { Err(format!("y: expected NaN at 1, got {y:?}").into()) }
}
