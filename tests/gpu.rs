//! What a session and its device do on a GPU, whatever the operators: `cargo nextest run --features wgpu --test gpu`.

use escnet::device::wgpu::{Abilities, AdapterKind, adapters};
use escnet::graph::{Builder, NodeTime, Options, Segment, Session, StateKind, Store, Value};
use escnet::infer::{Classification, Model, ModelFiles};
use escnet::ops::adamw::{AdamW, Tuned, adamw};
use escnet::ops::{add::add, advance::advance, assign::assign, ema::ema, grad_norm::grad_norm, relu::relu, softmax::softmax};
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
        trial("wgpu::more_than_a_buffer_may_hold_is_out_of_memory", out_of_memory),
        trial("wgpu::after_the_device_is_closed_everything_is_an_error", closed),
        trial("wgpu::an_optimizer_launches_little_however_many_parameters", few_launches),
        trial("wgpu::several_packs_give_the_bits_of_one", several_packs),
        trial("wgpu::state_that_moves_keeps_its_numbers_for_every_session", moved),
        trial("wgpu::one_trained_parameter_can_be_assigned_to_another", assigned),
        trial("wgpu::what_the_driver_made_is_kept_and_found_again", kept_pipelines),
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

/// Elements of each parameter of [`trainer`].
const SIZES: [usize; 12] = [1, 7, 255, 256, 256, 1023, 1025, 40_001, 3, 9000, 64, 2];

/// One step of AdamW with norm and averages over the first `count` parameters `p0`, `p1`, ...; then `more` is done with them.
fn trainer(count: usize, store: &mut Store, checked: bool, more: fn(&mut Builder, &[Value]) -> escnet::Result<()>) -> escnet::Result<Session> {
    let mut b = Builder::new();
    let mut tuned = Vec::new();
    let mut averages = Vec::new();
    for (i, len) in SIZES.into_iter().enumerate().take(count) {
        let mut state = |name: &str, kind| b.global_state(&format!("{name}{i}"), TensorType::f32([len]), kind);
        let (parameter, gradient) = (state("p", StateKind::Parameter)?, state("g", StateKind::Gradient)?);
        let (m, v) = (state("m", StateKind::Moment)?, state("v", StateKind::Moment)?);
        averages.push((state("a", StateKind::Moment)?, parameter));
        tuned.push(Tuned { parameter, m, v, gradient, group: i % 2, decay: i % 3 == 0 });
    }
    let (norm, finite) = grad_norm(&mut b, &tuned.iter().map(|t| t.gradient).collect::<Vec<_>>())?;
    let lr = b.constant(Tensor::from_f32([2], vec![0.01, 0.1])?);
    let step = b.global_state("step", TensorType::i32([1]), StateKind::Control)?;
    let settings = AdamW { betas: [0.9, 0.99], eps: 1e-6, weight_decay: 0.05, clip_norm: Some(1.0) };
    adamw(&mut b, settings, &tuned, lr, step, norm, finite)?;
    ema(&mut b, &averages, 0.9, step, finite)?;
    advance(&mut b, step, finite)?;
    more(&mut b, &tuned.iter().map(|t| t.parameter).collect::<Vec<_>>())?;
    b.output("norm", norm);
    Session::new(b.finish(), store, Options { checked, ..Options::default() })
}

/// Parameters and gradients get numbers of their own.
fn fill(store: &mut Store) -> Outcome {
    let named: Vec<(String, usize)> = store.entries().map(|(name, ty, _)| (name.to_owned(), ty.len())).collect();
    for (name, len) in named {
        let seed = if name.starts_with('p') { 3 } else { 8 };
        if name.starts_with(['p', 'g']) {
            store.write(&name, &Tensor::from_f32([len], (0..len).map(|i| ((i + len) * seed % 23) as f32 / 5.0 - 2.0).collect())?)?;
        }
    }
    Ok(())
}

/// All that a store holds, bit for bit.
fn content(store: &mut Store) -> escnet::Result<Vec<(String, Vec<u64>)>> {
    let mut names: Vec<String> = store.entries().map(|(name, ..)| name.to_owned()).collect();
    names.sort();
    names.into_iter().map(|name| Ok((name.clone(), store.read(&name)?.to_f64().into_iter().map(f64::to_bits).collect()))).collect()
}

/// How many kernels each node launches, by its operator.
fn launches(session: &mut Session) -> escnet::Result<Vec<(&'static str, usize)>> {
    let times = session.times()?;
    Ok(session.graph().nodes().iter().zip(&times).map(|(node, t)| (node.op.stem(), t.kernels.len())).collect())
}

fn few_launches() -> Outcome {
    let mut store = Store::new(&Device::wgpu(None)?);
    let mut session = trainer(SIZES.len(), &mut store, true, |_, _| Ok(()))?;
    fill(&mut store)?;
    session.run(&mut store, Segment::Run)?;
    let found = launches(&mut session)?;
    check(found == [("grad_norm", 2), ("adamw", 2), ("ema", 1), ("advance", 1)], format!("{found:?}"))
}

/// Packs of 64 KiB, and a tensor that is longer.
fn several_packs() -> Outcome {
    let run = |binding: u64| -> Result<_, Failed> {
        let mut store = Store::new(&Device::wgpu_with(None, Abilities { binding, ..Abilities::ALL })?);
        let mut session = trainer(SIZES.len(), &mut store, true, |_, _| Ok(()))?;
        fill(&mut store)?;
        for _ in 0..2 {
            session.run(&mut store, Segment::Run)?;
        }
        let norm = session.read("norm", &mut store)?.to_f32()[0].to_bits();
        Ok((norm, content(&mut store)?, launches(&mut session)?))
    };
    let (norm, state, one) = run(u64::MAX)?;
    let (same_norm, same_state, several) = run(64 << 10)?;
    check(several[1].1 > one[1].1 + 1 && several[1].1 < SIZES.len(), format!("{several:?} of {one:?}"))?;
    let different: Vec<&str> = state.iter().zip(&same_state).filter(|(a, b)| a != b).map(|((name, _), _)| name.as_str()).collect();
    check(norm == same_norm && different.is_empty(), format!("other bits: {norm:x} {same_norm:x} {different:?}"))
}

/// Runs the same on the CPU and compares what the stores hold then.
fn as_on_the_cpu(run: impl Fn(&mut Store) -> Outcome) -> Outcome {
    let mut stores = [Store::new(&Device::wgpu(None)?), Store::new(&Device::cpu(1)?)];
    for store in &mut stores {
        run(store)?;
    }
    let [gpu, cpu] = &mut stores;
    for (name, bits) in content(cpu)? {
        let got = gpu.read(&name)?.to_f64();
        let farthest = got.iter().zip(bits).map(|(got, want)| (got - f64::from_bits(want)).abs()).fold(0.0, f64::max);
        check(farthest <= 1e-5, format!("{name}: differs by {farthest}"))?;
    }
    Ok(())
}

/// The first session trains some, with one that is only read; the second trains all, and lays what was alone side by side.
fn moved() -> Outcome {
    as_on_the_cpu(|store| {
        let read = |b: &mut Builder, p: &[Value]| {
            let frozen = b.global_state("p5", TensorType::f32([SIZES[5]]), StateKind::Parameter)?;
            let y = relu(b, frozen)?;
            let z = relu(b, p[0])?;
            b.output("y", y);
            b.output("z", z);
            Ok(())
        };
        let mut first = trainer(4, store, true, read)?;
        fill(store)?;
        first.run(store, Segment::Run)?;
        // Nothing but the move tells this one that what it reads lies elsewhere: gradients are no weights.
        let mut b = Builder::new();
        let gradient = b.global_state("g5", TensorType::f32([SIZES[5]]), StateKind::Gradient)?;
        let seen = relu(&mut b, gradient)?;
        b.output("seen", seen);
        let mut reader = Session::new(b.finish(), store, Options::default())?;
        reader.run(store, Segment::Run)?;
        let mut second = trainer(SIZES.len(), store, true, |_, _| Ok(()))?;
        let frozen = store.read("p5")?.to_f32();
        check(frozen.iter().any(|&x| x != 0.0), "nothing is left of what moved")?;
        store.write("g5", &Tensor::from_f32([SIZES[5]], vec![0.5; SIZES[5]])?)?;
        reader.run(store, Segment::Run)?;
        check(reader.read("seen", store)?.to_f32() == [0.5; SIZES[5]], "a session reads where a gradient lay before")?;
        for name in ["p6", "g6"] {
            let len = store.read(name)?.shape().iter().product::<usize>();
            store.write(name, &Tensor::from_f32([len], vec![0.5; len])?)?;
        }
        second.run(store, Segment::Run)?;
        first.run(store, Segment::Run)?;
        second.run(store, Segment::Run)?;
        first.run(store, Segment::Run)?;
        let expected: Vec<f32> = store.read("p5")?.to_f32().into_iter().map(|x| x.max(0.0)).collect();
        check(first.read("y", store)?.to_f32() == expected, "the first session reads what is no longer there")?;
        if store.device().name() == "wgpu" {
            let found = launches(&mut second)?;
            check(found[1].0 == "adamw" && found[1].1 <= 4, format!("{found:?}"))?;
        }
        Ok(())
    })
}

/// What one dispatch reads and what it writes must not share an allocation.
fn assigned() -> Outcome {
    as_on_the_cpu(|store| {
        let mut plain = trainer(5, store, true, |_, _| Ok(()))?;
        fill(store)?;
        plain.run(store, Segment::Run)?;
        let mut session = trainer(5, store, true, |b, p| assign(b, p[3], p[4]))?;
        session.run(store, Segment::Run)?;
        plain.run(store, Segment::Run)?;
        session.run(store, Segment::Run)?;
        plain.run(store, Segment::Run)?;
        // One gradient moves out, which only the move tells the others.
        let mut b = Builder::new();
        let [to, from] = ["g3", "g4"].map(|name| b.global_state(name, TensorType::f32([SIZES[3]]), StateKind::Gradient));
        assign(&mut b, to?, from?)?;
        Session::new(b.finish(), store, Options::default())?.run(store, Segment::Run)?;
        store.write("g4", &Tensor::from_f32([SIZES[4]], vec![0.25; SIZES[4]])?)?;
        plain.run(store, Segment::Run)?;
        Ok(())
    })
}

/// Made once, found again; not where the file is damaged or cut, and a folder that cannot be is no error.
fn kept_pipelines() -> Outcome {
    let folder = std::env::temp_dir().join(format!("escnet_kept_{}", std::process::id()));
    let open = |folder: &Path| -> Result<bool, Failed> {
        let device = Device::wgpu(None)?;
        let found = device.gpu().ok_or("no GPU")?.keep_pipelines(folder);
        let mut b = Builder::new();
        let x = b.input("x", TensorType::f32([300]))?;
        let y = softmax(&mut b, x)?;
        b.output("y", y);
        let mut store = Store::new(&device);
        let mut session = Session::new(b.finish(), &mut store, Options::default())?;
        session.write("x", &Tensor::from_f32([300], vec![1.0; 300])?)?;
        session.run(&mut store, Segment::Run)?;
        let y = session.read("y", &mut store)?.to_f32();
        check(y.iter().all(|y| (y - 1.0 / 300.0).abs() < 1e-6), "another result")?;
        Ok(found)
    };
    let outcome = (|| {
        check(!open(&folder.join("deep"))?, "found before anything was made")?;
        let files: Vec<_> = std::fs::read_dir(folder.join("deep")).map(|dir| dir.flatten().map(|e| e.path()).collect()).unwrap_or_default();
        let [file] = &files[..] else {
            // Only Vulkan's drivers give it away.
            let vulkan = adapters().into_iter().min_by_key(|a| a.kind).is_some_and(|a| a.backend == "vulkan");
            return check(files.is_empty() && !vulkan, format!("{files:?}"));
        };
        check(open(&folder.join("deep"))?, "what was kept was not found")?;
        let whole = std::fs::read(file)?;
        let mut damaged = whole.clone();
        damaged[whole.len() - 1] ^= 1;
        for bad in [&damaged[..], &whole[..whole.len() / 2], b""] {
            std::fs::write(file, bad)?;
            check(!open(&folder.join("deep"))?, "a damaged file was of use")?;
            check(open(&folder.join("deep"))?, "a damaged file was not replaced")?;
        }
        check(!open(&file.join("below a file"))?, "found where nothing can be")
    })();
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

/// The demo model as a browser has it, against the one the CPU reads from its folder.
fn whole_model() -> Outcome {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    let text = |name: &str| std::fs::read_to_string(dir.join(name));
    let weights = std::fs::read(dir.join("model.safetensors"))?;
    let files = ModelFiles { config: text("config.json")?, weights, vocabulary: text("vocab.txt")?, ..ModelFiles::default() };
    let picture = Image::from_rgb(64, 48, (0..64 * 48 * 3).map(|i| (i * 7 % 251) as u8).collect())?;

    let expected = Engine::load(&dir, EngineOptions { device: "cpu".to_owned(), ..EngineOptions::default() })?.classify(&picture)?;
    let mut engine = Engine::new(Model::of(files)?, &Device::wgpu(None)?, EngineOptions { timed: true, ..EngineOptions::default() });
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
