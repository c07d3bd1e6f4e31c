//! What a session and its device do on a GPU, whatever the operators: `cargo nextest run --features wgpu --test gpu`.

use escnet::device::wgpu::{Abilities, AdapterKind, adapters};
use escnet::graph::{Builder, NodeTime, Options, Segment, Session, StateKind, Store};
use escnet::infer::{Classification, Model, ModelFiles};
use escnet::ops::{add::add, concat::concat, relu::relu, softmax::softmax};
use escnet::{DType, Device, Engine, EngineOptions, Error, Image, Tensor, TensorType};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;

type Outcome = Result<(), Failed>;

fn main() {
    let no_gpu = std::env::var_os("ESCNET_REQUIRE_DEVICES").is_none() && adapters().is_empty();
    let trial = |name: &str, run: fn() -> Outcome| Trial::test(name, run).with_ignored_flag(no_gpu);
    let trials = vec![
        trial("wgpu::adapters_are_numbered_in_order", adapters_are_numbered),
        trial("wgpu::a_number_without_an_adapter_is_refused", wrong_number),
        trial("wgpu::auto_takes_no_driver_in_software", auto),
        trial("wgpu::half_precision_is_refused_by_name", half_precision),
        trial("wgpu::a_grid_longer_than_an_axis_wraps", wrapped_grid),
        trial("wgpu::a_timed_session_computes_the_same_and_takes_time", timed),
        trial("wgpu::a_tensor_beyond_what_every_device_binds_at_once", larger_than_a_binding),
        trial("wgpu::what_cannot_be_cut_is_refused_by_name", not_cut),
        trial("wgpu::a_model_in_pieces_says_what_the_whole_one_says", model_in_pieces),
        trial("wgpu::more_than_a_buffer_may_hold_is_out_of_memory", out_of_memory),
        trial("wgpu::after_the_device_is_closed_everything_is_an_error", closed),
        trial("wgpu::a_model_from_memory_says_what_the_cpu_says", whole_model),
    ];
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
    small_on(&Device::wgpu(None)?, n, options)
}

fn small_on(device: &Device, n: usize, options: Options) -> escnet::Result<(Session, Store)> {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([n]))?;
    let s = b.global_state("s", TensorType::f32([n]), StateKind::Parameter)?;
    let sum = add(&mut b, x, s)?;
    let y = relu(&mut b, sum)?;
    b.output("y", y);
    let mut store = Store::new(device);
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

/// 128 MiB and a bit, on a device that binds no more than those at once.
fn larger_than_a_binding() -> Outcome {
    let n = (32 << 20) + 100_000;
    let (mut session, mut store) = small_on(&Device::wgpu_with(None, Abilities::PORTABLE)?, n, Options::default())?;
    let number = |i: usize| (i % 1021) as f32 - 500.0;
    session.write("x", &Tensor::from_f32([n], (0..n).map(number).collect())?)?;
    session.run(&mut store, Segment::Run)?;
    let y = session.read("y", &mut store)?;
    let y = y.as_f32().ok_or("no f32")?;
    check((0..n).all(|i| y[i] == number(i).max(0.0)), "an element was not computed")?;
    check(session.times()?.iter().all(|node| node.kernels.len() == 2), "a node is not in two pieces")
}

/// Along its first dimension a tensor is not cut.
fn not_cut() -> Outcome {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([200]))?;
    let y = concat(&mut b, &[x, x], 0)?;
    b.output("y", y);
    let mut store = Store::new(&Device::wgpu_with(None, Abilities { binding: 1024, ..Abilities::ALL })?);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    match session.run(&mut store, Segment::Run) {
        Err(Error::Op { op: "concat", tensor, expected, got }) => {
            let told = [
                tensor.contains("output 0"),
                expected.contains("1024"),
                got.contains("1600 bytes"),
                got.contains("f32[400]"),
                got.contains("--batch"),
            ];
            check(told == [true; 5], format!("{tensor}: {expected}: {got}"))
        }
        other => Err(format!("{other:?}").into()),
    }
}

/// The demo model on a GPU that binds little more at once than its largest weights.
fn model_in_pieces() -> Outcome {
    // A picture's first layer has a quarter of it.
    let binding = 4 * 128 * 128 * 3 * 3;
    let device = Device::wgpu_with(None, Abilities { binding, ..Abilities::ALL })?;
    let pictures = (0..8).map(|n| picture(7 + n)).collect::<Result<Vec<_>, _>>()?;
    let classify = |device: &Device| -> Result<_, Failed> {
        let options = EngineOptions { batch: pictures.len(), timed: true, ..EngineOptions::default() };
        let mut engine = Engine::new(Model::of(demo()?)?, device, options);
        let said = engine.classify_all(&pictures)?;
        Ok((said, engine.times()?.iter().map(|node| node.kernels.len()).sum::<usize>()))
    };
    let ((whole, launches), (cut, more)) = (classify(&Device::wgpu(None)?)?, classify(&device)?);
    check(more > launches, format!("{more} launches instead of {launches}"))?;
    for (whole, cut) in whole.iter().zip(&cut) {
        check(whole.caption.ids == cut.caption.ids, format!("{} instead of {}", cut.caption.text, whole.caption.text))?;
        check(whole.predictions.iter().zip(&cut.predictions).all(|(a, b)| (a.probability - b.probability).abs() <= 1e-5), format!("{cut:?}"))?;
    }
    Ok(())
}

/// More than any device has.
fn out_of_memory() -> Outcome {
    let n = 1 << 44;
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

/// The demo model's files.
fn demo() -> std::io::Result<ModelFiles> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    let text = |name: &str| std::fs::read_to_string(dir.join(name));
    let weights = std::fs::read(dir.join("model.safetensors"))?;
    Ok(ModelFiles { config: text("config.json")?, weights, vocabulary: text("vocab.txt")?, ..ModelFiles::default() })
}

fn picture(step: usize) -> escnet::Result<Image> {
    Image::from_rgb(64, 48, (0..64 * 48 * 3).map(|i| (i * step % 251) as u8).collect())
}

/// The demo model as a browser has it, against the one the CPU reads from its folder.
fn whole_model() -> Outcome {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    let picture = picture(7)?;

    let expected = Engine::load(&dir, EngineOptions { device: "cpu".to_owned(), ..EngineOptions::default() })?.classify(&picture)?;
    let mut engine = Engine::new(Model::of(demo()?)?, &Device::wgpu(None)?, EngineOptions { timed: true, ..EngineOptions::default() });
    let got = engine.classify(&picture)?;
    check(got.caption.ids == expected.caption.ids, format!("{} instead of {}", got.caption.text, expected.caption.text))?;
    let probability = |of: &Classification, class: &str| of.predictions.iter().find(|p| p.class == class).map_or(f32::NAN, |p| p.probability);
    let classes = got.predictions.iter().map(|p| &p.class);
    let farthest = classes.map(|c| (probability(&got, c) - probability(&expected, c)).abs()).fold(0.0, f32::max);
    check(farthest <= 1e-4, format!("probabilities differ by {farthest}"))?;
    // The decoder's step runs once a token, all else once.
    let tokens = got.caption.ids.len() as u64 - 1;
    let times = engine.times()?;
    let ran = |t: &&NodeTime| !t.kernels.is_empty();
    check(times.iter().filter(ran).all(|t| t.runs == 1 || t.runs >= tokens), "a node ran neither once nor for each token")?;
    check(engine.times()?.iter().all(|t| t.runs == 0), "what was told is told again")
}
