//! What a session and its device do on a GPU, whatever the operators: `cargo nextest run --features wgpu --test gpu`.

mod common;

use escnet::device::wgpu::{Abilities, AdapterKind, adapters};
use escnet::graph::{Builder, NodeTime, Options, Segment, Session, StateKind, Store};
use escnet::infer::{Classification, Model, ModelFiles};
use escnet::ops::{TABLE, add::add, relu::relu, softmax::softmax};
use escnet::{DType, Device, Engine, EngineOptions, Error, Image, Tensor, TensorType};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;

type Outcome = Result<(), Failed>;

fn main() {
    let [no_gpu, no_half] = common::missing();
    let trial = |name: &str, run: fn() -> Outcome| Trial::test(name, run).with_ignored_flag(no_gpu);
    let mut trials = vec![
        trial("wgpu::adapters_are_numbered_in_order", adapters_are_numbered),
        trial("wgpu::a_number_without_an_adapter_is_refused", wrong_number),
        trial("wgpu::auto_takes_no_driver_in_software", auto),
        trial("wgpu::half_precision_is_refused_by_name", half_precision),
        trial("wgpu::a_grid_longer_than_an_axis_wraps", wrapped_grid),
        trial("wgpu::a_timed_session_computes_the_same_and_takes_time", timed),
        trial("wgpu::more_than_a_buffer_may_hold_is_out_of_memory", out_of_memory),
        trial("wgpu::after_the_device_is_closed_everything_is_an_error", closed),
        trial("wgpu::a_model_from_memory_says_what_the_cpu_says", || whole_model(DType::F32, 1e-4)),
        // As far as half precision may be off at the end of a model, see `verify::Floor`.
        trial("wgpu_half::a_model_from_memory_says_what_the_cpu_says", || whole_model(DType::F16, 1e-2)).with_ignored_flag(no_half),
    ];
    for (stem, case) in WRAPPED {
        let trial = Trial::test(format!("wgpu::a_grid_of_three_columns_computes_{stem}_{}", case.replace(' ', "_")), || narrow_grid(stem, case));
        trials.push(trial.with_ignored_flag(no_gpu));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn check(holds: bool, what: impl ToString) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_string().into()) }
}

fn adapters_are_numbered() -> Outcome {
    let found = adapters();
    check(!found.is_empty() && found.iter().enumerate().all(|(i, a)| a.index == i && !a.name.is_empty()), format!("{found:?}"))
}

fn wrong_number() -> Outcome {
    match Device::parse("wgpu:99", 0, DType::F32) {
        Err(Error::Device { device, reason }) if device == "wgpu:99" && reason.contains("there are") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn auto() -> Outcome {
    let device = Device::parse("auto", 1, DType::F32)?;
    if adapters().iter().any(|a| a.kind != AdapterKind::Software) {
        return check(device.name() == "wgpu", device.describe());
    }
    check(device.name() == "cpu" && device.note().is_some_and(|n| n.contains("no GPU")), format!("{device:?}"))
}

/// bf16 on none, f16 on those that have it; and there kernels do store numbers so.
fn half_precision() -> Outcome {
    match Device::parse("wgpu", 0, DType::BF16) {
        Err(Error::Device { reason, .. }) if reason.contains("bf16") => {}
        other => return Err(format!("{other:?}").into()),
    }
    let device = match Device::parse("wgpu", 0, DType::F16) {
        Err(Error::Device { reason, .. }) if reason.contains("f16") => return Ok(()),
        other => other?,
    };
    let mut b = Builder::new();
    let x = b.input("x", TensorType::new(DType::F16, [3]))?;
    let y = relu(&mut b, x)?;
    b.output("y", y);
    let mut store = Store::new(&device);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    session.write("x", &Tensor::from_f32([3], vec![-1.0, 1.0 + 1.0 / 4096.0, 65504.0])?)?;
    session.run(&mut store, Segment::Run)?;
    let y = session.read("y", &mut store)?.to_f32();
    check(y == [0.0, 1.0, 65504.0], format!("{y:?}"))?;
    let kernels = device.gpu().ok_or("no GPU")?.kernels();
    check(kernels.len() == 1 && kernels[0].source.contains("alias Real = f16"), format!("{kernels:?}"))
}

/// y = relu(x + s) with state s, of `n` elements.
fn small(n: usize, options: Options) -> escnet::Result<(Session, Store)> {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([n]))?;
    let s = b.global_state("s", TensorType::f32([n]), StateKind::Parameter)?;
    let sum = add(&mut b, x, s)?;
    let y = relu(&mut b, sum)?;
    b.output("y", y);
    let mut store = Store::new(&Device::wgpu(None)?);
    let session = Session::new(b.finish(), &mut store, options)?;
    Ok((session, store))
}

/// 65535 workgroups of 256 are 16.8 million elements: one axis holds no more.
fn wrapped_grid() -> Outcome {
    let n = 65535 * 256 + 1000;
    let (mut session, mut store) = small(n, Options::default())?;
    let x: Vec<f32> = (0..n).map(|i| (i % 1001) as f32 - 500.0).collect();
    session.write("x", &Tensor::from_f32([n], x.clone())?)?;
    session.run(&mut store, Segment::Run)?;
    let y = session.read("y", &mut store)?.to_f32();
    check(y.iter().zip(&x).all(|(y, x)| *y == x.max(0.0)), "an element was not computed")
}

/// Cases of every kind of launch: maps, rows, sums of columns, tiles of products and of patches, of two sequences, of what is turned; a sort.
const WRAPPED: [(&str, &str); 13] = [
    ("relu", "[9001]"),
    ("softmax", "[5, 31]"),
    ("reduce", "[3, 20011]_sum_trailing(1)"),
    ("reduce", "[300, 70]_mean_leading(1)"),
    ("layernorm", "[67, 131]"),
    ("linear", "33x17x65_gelu_bias"),
    ("linear", "1100x40x3_gelu_bias"),
    ("conv2d", "3x19x18x10_6x3x3_s1p1"),
    ("attention", "tiles, beams, lengths of each"),
    ("attention", "decode in pieces"),
    ("transpose", "[2, 3, 45, 23]->[0, 2, 3, 1]"),
    ("gather", "5000, half of them one"),
    ("cross_entropy", "several parts of a row"),
];

/// Long grids are of tensors that a software driver takes minutes for. On one of three columns small ones wrap, too, and end with workgroups that have
/// nothing to do.
fn narrow_grid(stem: &str, name: &str) -> Outcome {
    let device = Device::wgpu_with(None, Abilities { across: 3, ..common::most() })?;
    let cases = TABLE.iter().find(|row| row.stem == stem).map_or_else(Vec::new, |row| (row.cases)());
    let case = cases.iter().find(|case| case.name == name).ok_or("no such case")?;
    Ok(common::cases::on_wgpu(stem, case, &device)?)
}

fn timed() -> Outcome {
    let run = |options: Options| -> escnet::Result<_> {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::f32([100, 1000]))?;
        let y = softmax(&mut b, x)?;
        let z = softmax(&mut b, y)?;
        b.output("z", z);
        let mut store = Store::new(&Device::wgpu(None)?);
        let mut session = Session::new(b.finish(), &mut store, options)?;
        session.write("x", &Tensor::from_f32([100, 1000], (0..100_000).map(|i| (i % 37) as f32 / 9.0).collect())?)?;
        session.run(&mut store, Segment::Run)?;
        Ok((session.read("z", &mut store)?.to_f32(), session.times()?))
    };
    let (plain, no_times) = run(Options::default())?;
    let (same, times) = run(Options { timed: true, ..Options::default() })?;
    check(plain == same, "other results")?;
    check(no_times.iter().all(|t| t.time.is_zero()) && times.len() == 2, format!("{no_times:?}"))?;
    let told = |t: &NodeTime| !t.time.is_zero() && t.runs == 1 && t.kernels.iter().all(|k| k.source.contains(&k.entry)) && !t.kernels.is_empty();
    check(times.iter().all(told), format!("{times:?}"))
}

fn out_of_memory() -> Outcome {
    let n = 1 << 31;
    match small(n, Options::default()) {
        Err(Error::OutOfMemory { bytes, device }) => check(bytes == 4 * n as u64 && device.contains("wgpu"), format!("{device}: {bytes}")),
        Err(other) => Err(other.into()),
        Ok(_) => Err("eight gigabytes in one buffer".into()),
    }
}

fn closed() -> Outcome {
    let (mut session, mut store) = small(10, Options::default())?;
    session.write("x", &Tensor::from_f32([10], vec![1.0; 10])?)?;
    session.run(&mut store, Segment::Run)?;
    check(session.read("y", &mut store)?.to_f32() == [1.0; 10], "another sum")?;
    let device = store.device().clone();
    device.gpu().ok_or("no GPU")?.close();
    let outcomes = [
        session.write("x", &Tensor::from_f32([10], vec![1.0; 10])?),
        session.run(&mut store, Segment::Run),
        session.read("y", &mut store).map(drop),
        Session::new(session.graph().clone(), &mut Store::new(&device), Options::default()).map(drop),
    ];
    match outcomes.iter().find(|o| !matches!(o, Err(Error::Device { .. }))) {
        None => Ok(()),
        Some(other) => Err(format!("{other:?}").into()),
    }
}

/// The demo model as a browser has it, against the one the CPU reads from its folder.
fn whole_model(dtype: DType, limit: f32) -> Outcome {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    let text = |name: &str| std::fs::read_to_string(dir.join(name));
    let weights = std::fs::read(dir.join("model.safetensors"))?;
    let files = ModelFiles { config: text("config.json")?, weights, vocabulary: text("vocab.txt")?, ..ModelFiles::default() };
    let picture = Image::from_rgb(64, 48, (0..64 * 48 * 3).map(|i| (i * 7 % 251) as u8).collect())?;

    let expected = Engine::load(&dir, EngineOptions { device: "cpu".to_owned(), ..EngineOptions::default() })?.classify(&picture)?;
    let options = EngineOptions { dtype, timed: true, ..EngineOptions::default() };
    let mut engine = Engine::new(Model::of(files)?, &Device::wgpu(None)?, options);
    let got = engine.classify(&picture)?;
    check(got.caption.ids == expected.caption.ids, format!("{} instead of {}", got.caption.text, expected.caption.text))?;
    let probability = |of: &Classification, class: &str| of.predictions.iter().find(|p| p.class == class).map_or(f32::NAN, |p| p.probability);
    let classes = got.predictions.iter().map(|p| &p.class);
    let farthest = classes.map(|c| (probability(&got, c) - probability(&expected, c)).abs()).fold(0.0, f32::max);
    check(farthest <= limit, format!("probabilities differ by {farthest}"))?;
    // The decoder's step runs once a token, all else once.
    let tokens = got.caption.ids.len() as u64 - 1;
    let times = engine.times()?;
    let ran = |t: &&NodeTime| !t.kernels.is_empty();
    check(times.iter().filter(ran).all(|t| t.runs == 1 || t.runs >= tokens), "a node ran neither once nor for each token")?;
    check(engine.times()?.iter().all(|t| t.runs == 0), "what was told is told again")
}
