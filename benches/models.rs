//! Whole models, to be set beside `tools/peers/`: `cargo bench --bench models -- [NAME] [--threads 2] [--iters 40] [--seconds 20]`.
//!
//! Prints the peers' JSON rows, each from a fresh process, so that peak memory is the row's own. Random weights; the fixed input of all
//! peers. A row whose `others` (cores that other programs kept busy meanwhile) is above about 0.05 is no measurement.

use escnet::bench::others::Others;
use escnet::graph::{Builder, Graph, NodeTime, Options, Segment, Session, Source, StateKind, Store, Value, fuse, gradients};
use escnet::infer::{Captioner, Generation};
use escnet::model::config::{BackboneConfig, CaptionerConfig, TextDecoderConfig, TextEncoderConfig, VisionConfig};
use escnet::model::{Training, backbone::backbone, text::text_encoder, vision::vision};
use escnet::ops::linear::{Activation, linear};
use escnet::ops::sgd::{Sgd, Tuned, sgd};
use escnet::ops::{cross_entropy::cross_entropy, global_avgpool::global_avgpool, grad_norm::grad_norm, rules};
use escnet::{DType, Device, Result, Tensor, TensorType};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAMES: [(&str, usize); 7] = [
    ("resnet50_infer", 1),
    ("resnet50_infer", 8),
    ("resnet50_train_step", 8),
    ("blip_encoder", 1),
    ("blip_caption", 1),
    ("bert_encoder", 1),
    ("blip_caption", 4),
];

struct Arguments {
    name: Option<String>,
    batch: Option<usize>,
    threads: usize,
    iters: usize,
    seconds: f64,
    profile: bool,
}

fn main() {
    let mut a = Arguments { name: None, batch: None, threads: 2, iters: 40, seconds: 20.0, profile: false };
    let mut rest = std::env::args().skip(1);
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().expect("a value");
        match arg.as_str() {
            "--threads" => a.threads = value().parse().expect("a number"),
            "--batch" => a.batch = Some(value().parse().expect("a number")),
            "--iters" => a.iters = value().parse().expect("a number"),
            "--seconds" => a.seconds = value().parse().expect("a number"),
            "--profile" => a.profile = true,
            "--bench" => {}
            _ => a.name = Some(arg),
        }
    }
    if let (Some(name), Some(batch)) = (&a.name, a.batch) {
        return measure(name, batch, &a).expect("a measurement");
    }
    for (name, batch) in NAMES.iter().filter(|(n, _)| a.name.as_deref().is_none_or(|wanted| wanted == *n)) {
        let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
        command.args([name, "--batch", &batch.to_string(), "--threads", &a.threads.to_string()]);
        command.args(["--iters", &a.iters.to_string(), "--seconds", &a.seconds.to_string()]);
        command.args(a.profile.then_some("--profile"));
        assert!(command.status().expect("a process").success(), "{name} failed");
    }
}

/// The fixed input of all peers, channels last.
fn picture(batch: usize, side: usize) -> Result<Tensor> {
    let n = batch * 3 * side * side;
    let channels_first = (0..n).map(|i| ((i * 7919) % 2001) as f32 / 1000.0 - 1.0).collect();
    Tensor::from_f32([batch, 3, side, side], channels_first)?.permute(&[0, 2, 3, 1])
}

/// A store whose weights are drawn when they are first needed: normal by fan-in, ones for norms' scales and variances.
fn random_store(graphs: &[&Graph], threads: usize) -> Result<Store> {
    let shapes: HashMap<String, TensorType> = graphs.iter().flat_map(|g| g.states()).map(|(_, info, _)| (info.name.clone(), info.ty)).collect();
    let draw = move |name: &str| -> Result<Option<Tensor>> {
        let Some(ty) = shapes.get(name) else { return Ok(None) };
        let mut state = name.bytes().fold(0x9e37_79b9_7f4a_7c15u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)) | 1;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        let fan_in: usize = ty.shape.iter().skip(1).product();
        let values = if ty.shape.rank() >= 2 {
            let width = 12f32.sqrt() * (2.0 / fan_in as f32).sqrt();
            (0..ty.len()).map(|_| width * uniform()).collect()
        } else if name.ends_with("weight") || name.ends_with("running_var") {
            vec![1.0; ty.len()]
        } else {
            vec![0.0; ty.len()]
        };
        Tensor::from_f32(ty.shape, values).map(Some)
    };
    Ok(Store::with_source(&Device::cpu(threads)?, Arc::new(draw)))
}

fn resnet50(b: &mut Builder, batch: usize, training: Option<&mut Training>) -> Result<Value> {
    let image = b.input("image", TensorType::f32([batch, 224, 224, 3]))?;
    let features = backbone(b, &BackboneConfig { layers: [3, 4, 6, 3], width: 64 }, image, training)?;
    let pooled = global_avgpool(b, features.layers[3])?;
    let weight = b.parameter("fc.weight", [1000, 2048])?;
    let bias = b.parameter("fc.bias", [1000])?;
    linear(b, pooled, weight, Some(bias), Activation::None)
}

type Work = Box<dyn FnMut() -> Result<Tensor>>;

fn session_of(b: Builder, a: &Arguments) -> Result<(Session, Store)> {
    let graph = fuse(b.finish(), &rules())?;
    let mut store = random_store(&[&graph], a.threads)?;
    let session = Session::new(graph, &mut store, Options { timed: a.profile, ..Options::default() })?;
    Ok((session, store))
}

/// Replays a forward pass whose result is `y`.
fn forward(b: Builder, a: &Arguments, inputs: &[(&str, Tensor)]) -> Result<Work> {
    let (mut session, mut store) = session_of(b, a)?;
    for (name, tensor) in inputs {
        session.write(name, tensor)?;
    }
    let profile = a.profile;
    let mut runs = 0;
    Ok(Box::new(move || {
        session.run(&mut store, Segment::Run)?;
        runs += 1;
        if profile && runs == 10 {
            print_times(&mut session)?;
        }
        session.read("y", &mut store)
    }))
}

fn print_times(session: &mut Session) -> Result<()> {
    let times = session.times()?;
    let mut rows: Vec<(f64, String)> = Vec::new();
    let mut kinds: HashMap<&str, f64> = HashMap::new();
    for (node, NodeTime { label, scope, time, runs, cost, .. }) in session.graph().nodes().iter().zip(&times) {
        let ms = time.as_secs_f64() * 1e3 / (*runs).max(1) as f64;
        *kinds.entry(label).or_default() += ms;
        let types: Vec<String> = node.inputs.iter().take(2).map(|&v| session.graph().ty(v).to_string()).collect();
        rows.push((
            ms,
            format!(
                "{ms:9.3} ms {:7.1} GFLOP/s {:7.1} GB/s  {:<28} {:<44} {}",
                cost.flops as f64 / ms / 1e6,
                cost.bytes as f64 / ms / 1e6,
                label,
                types.join(" "),
                scope
            ),
        ));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
    kinds.iter().for_each(|(kind, ms)| eprintln!("{ms:9.3} ms  {kind}"));
    rows.iter().take(40).for_each(|(_, row)| eprintln!("{row}"));
    Ok(())
}

fn work(name: &str, batch: usize, a: &Arguments) -> Result<Work> {
    let mut b = Builder::new();
    match name {
        "resnet50_infer" => {
            let y = resnet50(&mut b, batch, None)?;
            b.output("y", y);
            forward(b, a, &[("image", picture(batch, 224)?)])
        }
        "resnet50_train_step" => train_step(batch, a),
        "blip_encoder" => {
            let image = b.input("image", TensorType::f32([batch, 384, 384, 3]))?;
            let y = vision(&mut b, &VisionConfig::default(), image, None)?;
            b.output("y", y);
            forward(b, a, &[("image", picture(batch, 384)?)])
        }
        "bert_encoder" => {
            let ids = b.input("ids", TensorType::i32([batch, 32]))?;
            let mask = b.input("mask", TensorType::i32([batch, 32]))?;
            let y = text_encoder(&mut b, &TextEncoderConfig::default(), ids, mask, None)?;
            b.output("y", y);
            let ids = Tensor::from_i32([batch, 32], (0..batch as i32 * 32).map(|i| 1000 + i * 37 % 20000).collect())?;
            forward(b, a, &[("ids", ids), ("mask", Tensor::from_i32([batch, 32], vec![1; batch * 32])?)])
        }
        _ => caption(batch, a),
    }
}

/// Greedy, exactly 20 tokens after the start token.
fn caption(batch: usize, a: &Arguments) -> Result<Work> {
    let text_config = TextDecoderConfig { num_attention_heads: 12, ..TextDecoderConfig::default() };
    let config = CaptionerConfig { vision_config: VisionConfig::default(), text_config };
    let mut b = Builder::new();
    let whole = escnet::model::captioner::captioner(&mut b, &config, 1, 1, None)?;
    b.output("y", whole.logits);
    let mut store = random_store(&[&b.finish()], a.threads)?;
    let generation = Generation { beams: 1, max_length: 21, min_length: 21, ..Generation::default() };
    let mut captioner = Captioner::new(&config, batch, generation, DType::F32, Options::default(), &mut store)?;
    let image = picture(batch, 384)?;
    Ok(Box::new(move || {
        let found = captioner.caption(&image, 0, &mut store)?;
        assert!(found.iter().all(|h| h.ids.len() == 21), "20 tokens each");
        Tensor::from_f32([found.len()], found.iter().map(|h| h.score).collect())
    }))
}

/// Forward, cross-entropy, backward, SGD with momentum, batch norm in training mode.
fn train_step(batch: usize, a: &Arguments) -> Result<Work> {
    let mut b = Builder::new();
    let mut training = Training::new(&mut b)?;
    let logits = resnet50(&mut b, batch, Some(&mut training))?;
    let labels = b.input("labels", TensorType::i32([batch]))?;
    let loss = cross_entropy(&mut b, logits, labels, None, 0.0, -100)?;
    b.output("y", loss);
    let one = b.constant(Tensor::scalar(1.0));
    let parameters: Vec<(String, Value)> =
        b.graph().values().filter(|(_, v)| v.source == Source::State(StateKind::Parameter)).map(|(id, v)| (v.name.clone(), id)).collect();
    let wrt: Vec<Value> = parameters.iter().map(|(_, v)| *v).collect();
    let grads = gradients(&mut b, &rules(), &[(loss, one)], &wrt)?;
    // One micro-step, so the gradients go straight to the optimizer, as PyTorch's do.
    let grads: Vec<Value> = grads.into_iter().flatten().collect();
    let (norm, finite) = grad_norm(&mut b, &grads)?;
    let mut tuned = Vec::new();
    for ((name, parameter), gradient) in parameters.iter().zip(grads) {
        let ty = b.ty(*parameter);
        let momentum = b.global_state(&format!("sgd.{name}"), ty, StateKind::Moment)?;
        tuned.push(Tuned { parameter: *parameter, m: momentum, gradient, group: 0, decay: false });
    }
    let lr = b.global_state("lr", TensorType::f32([1]), StateKind::Control)?;
    let step = b.global_state("step", TensorType::i32([1]), StateKind::Control)?;
    sgd(&mut b, Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0, clip_norm: None }, &tuned, lr, step, norm, finite)?;
    training.commit(&mut b, finite)?;
    let (mut session, mut store) = session_of(b, a)?;
    store.write("lr", &Tensor::from_f32([1], vec![0.01])?)?;
    session.write("image", &picture(batch, 224)?)?;
    session.write("labels", &Tensor::from_i32([batch], (0..batch as i32).map(|i| i * 111).collect())?)?;
    let profile = a.profile;
    let mut runs = 0;
    Ok(Box::new(move || {
        session.run(&mut store, Segment::Run)?;
        session.run(&mut store, Segment::Apply)?;
        runs += 1;
        if profile && runs == 5 {
            print_times(&mut session)?;
        }
        session.read("y", &mut store)
    }))
}

fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find(|l| l.starts_with("VmHWM")).and_then(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

fn measure(name: &str, batch: usize, a: &Arguments) -> Result<()> {
    let mut work = work(name, batch, a)?;
    let mut result = work()?;
    for _ in 0..2 {
        result = work()?;
    }
    let norm = result.to_f64().iter().map(|v| v * v).sum::<f64>().sqrt();
    let mut ms: Vec<f64> = Vec::new();
    let others = Others::watch();
    let end = Instant::now() + Duration::from_secs_f64(a.seconds);
    while ms.len() < a.iters && (ms.len() < 5 || Instant::now() < end) {
        let t = Instant::now();
        work()?;
        ms.push(t.elapsed().as_secs_f64() * 1e3);
    }
    let others = others.cores();
    ms.sort_by(f64::total_cmp);
    let at = |q: f64| ms[((q * (ms.len() - 1) as f64 + 0.5) as usize).min(ms.len() - 1)];
    println!(
        "{{\"peer\": \"escnet\", \"name\": \"{name}\", \"batch\": {batch}, \"threads\": {}, \"ms\": {{\"median\": {:.3}, \"p5\": {:.3}, \
         \"p95\": {:.3}, \"n\": {}, \"others\": {others:.2}}}, \"peak_rss_mb\": {:.1}, \"check\": {norm:.6}, \"variant\": \"f32\"}}",
        a.threads,
        at(0.5),
        at(0.05),
        at(0.95),
        ms.len(),
        peak_rss_mb()
    );
    Ok(())
}
