//! What the host does before a device has anything to do, and operators through `escnet bench`'s own harness: `cargo bench --bench host -- [FILTER]`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use escnet::bench::parts::{Part, model};
use escnet::bench::shapes::subjects;
use escnet::bench::subject::{Memory, Prepared};
use escnet::data::image::Image;
use escnet::data::preprocess::Preprocess;
use escnet::data::tokenizer::Tokenizer;
use escnet::graph::{Plan, prepare};
use escnet::infer::Generation;
use escnet::infer::inspect::{Setting, Stage, build};
use escnet::ops::rules;
use escnet::weights::WeightFile;
use escnet::{DType, Device};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// From a configuration to a graph that is ready to run.
fn graphs(criterion: &mut Criterion) {
    let config = model("escnet-base").expect("it comes with the program");
    let setting = Setting { batch: 1, dtype: DType::F32, threads: 2, generation: Generation::default() };
    let written = build(&config, Stage::Classify, &setting).expect("a graph");
    let fused = prepare(written.clone(), &rules(), DType::F32).expect("it folds");
    let mut group = criterion.benchmark_group("graph");
    group.bench_function("build", |b| b.iter(|| build(&config, Stage::Classify, &setting).expect("a graph")));
    group.bench_function("fuse", |b| b.iter(|| prepare(written.clone(), &rules(), DType::F32).expect("it folds")));
    group.bench_function("lower and fuse", |b| b.iter(|| prepare(written.clone(), &rules(), DType::BF16).expect("it folds")));
    group.bench_function("plan", |b| b.iter(|| Plan::new(black_box(&fused), 2)));
    group.finish();
}

/// Words and pictures.
fn inputs(criterion: &mut Criterion) {
    let words = Tokenizer::open(file("assets/demo/vocab.txt")).expect("a vocabulary");
    let text = "a small red circle above a large blue square, and nothing else on a plain background";
    let ids = words.encode(text, None);
    let mut group = criterion.benchmark_group("input");
    group.bench_function("encode a sentence", |b| b.iter(|| words.encode(black_box(text), Some(40))));
    group.bench_function("decode a sentence", |b| b.iter(|| words.decode(black_box(&ids), true)));
    let photo = file("benches/pictures/512.jpg");
    let picture = Image::open(&photo).expect("a picture");
    let preprocess = Preprocess::classify(224).expect("a size");
    group.bench_function("decode a JPEG of 512", |b| b.iter(|| Image::open(&photo).expect("a picture")));
    group.bench_function("preprocess it to 224", |b| b.iter(|| preprocess.apply(black_box(&picture)).expect("a tensor")));
    group.finish();
}

/// A file of weights: its header alone, then every number.
fn weights(criterion: &mut Criterion) {
    let path = file("assets/demo/model.safetensors");
    let open = || WeightFile::open(&path).expect("weights");
    let read = |opened: &WeightFile| {
        opened.names().map(|name| opened.tensor(name).and_then(|t| t.to_f32()).expect("a tensor").to_f32().len()).sum::<usize>()
    };
    let mut group = criterion.benchmark_group("safetensors");
    group.bench_function("open", |b| b.iter(open));
    group.throughput(Throughput::Bytes(std::fs::metadata(&path).expect("a file").len()));
    group.bench_function("open and read all as f32", |b| b.iter(|| read(&open())));
    group.finish();
}

/// Operators of the small model, checked and run as `escnet bench` does, the tensors cold.
fn operators(criterion: &mut Criterion) {
    let config = model("escnet-tiny").expect("it comes with the program");
    let device = Device::cpu(0).expect("a CPU");
    let all = subjects(&config, &[Part::Inference(Stage::Classify)], 1, DType::F32).expect("graphs");
    let mut group = criterion.benchmark_group("operator");
    for stem in ["conv2d", "linear", "attention", "layernorm"] {
        let subject = all.iter().filter(|subject| subject.op.label() == stem).max_by_key(|subject| subject.cost.flops).expect("the model has it");
        let mut prepared = Prepared::new(subject, &device, Memory::Cold).expect("memory");
        prepared.check().expect("it is right");
        group.throughput(Throughput::Elements(subject.cost.flops));
        group.bench_function(format!("{stem} {}", subject.shape()), |b| {
            // A run is of all copies, its time that of one of them.
            b.iter_custom(|times| (0..times).map(|_| prepared.run().expect("it runs").host).sum::<Duration>());
        });
    }
    group.finish();
}

criterion_group!(benches, graphs, inputs, weights, operators);
criterion_main!(benches);
