//! Each convolution of ResNet-50 against what the product's FLOPs allow: `cargo bench --bench conv -- forward`.
//!
//! The name of a measurement is `<pass>/<size>x<I>_<O>x<kernel>_s<stride>`; criterion's throughput counts FLOPs as elements.
//! `ESCNET_BATCH` sets the pictures (8), `ESCNET_THREADS` the threads (all).

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use escnet::graph::{Builder, Options, Segment, Session, Store, Value, fuse};
use escnet::ops::conv2d::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, RESNET50};
use escnet::ops::linear::Activation;
use escnet::ops::rules;
use escnet::{Device, Result, Tensor, TensorType};
use std::time::Duration;

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

/// Which product is measured.
#[derive(Clone, Copy)]
enum Pass {
    /// With constant, rearranged filters, bias and ReLU: as in inference.
    Inference,
    /// With filters that change.
    Forward,
    BackwardInput,
    BackwardWeight,
}

impl Pass {
    const ALL: [(&str, Pass); 4] = [
        ("inference", Pass::Inference),
        ("forward", Pass::Forward),
        ("backward_input", Pass::BackwardInput),
        ("backward_weight", Pass::BackwardWeight),
    ];

    /// A session of one node with its store, and the node's FLOPs.
    fn session(self, device: &Device, (size, i, o, kernel, stride): (usize, usize, usize, usize, usize)) -> Result<(Store, Session, u64)> {
        let (batch, padding, out) = (setting("ESCNET_BATCH", 8), kernel / 2, size.div_ceil(stride));
        let (x, w, y) = ([batch, size, size, i], [o, kernel, kernel, i], [batch, out, out, o]);
        let mut b = Builder::new();
        let node = |b: &mut Builder, op: Result<Vec<Value>>| op.map(|values| b.output("result", values[0]));
        let input = |b: &mut Builder, name: &str, shape: [usize; 4]| b.input(name, TensorType::f32(shape));
        match self {
            Pass::Inference | Pass::Forward => {
                let fixed = matches!(self, Pass::Inference);
                let x = input(&mut b, "x", x)?;
                let w = if fixed { b.parameter(&format!("w{w:?}"), w)? } else { input(&mut b, "w", w)? };
                let mut inputs = vec![x, w];
                if fixed {
                    inputs.push(b.input("bias", TensorType::f32([o]))?);
                }
                let activation = if fixed { Activation::Relu } else { Activation::None };
                let op = b.apply(Conv2d { stride, padding, bias: fixed, residual: false, activation, moments: false }, &inputs);
                node(&mut b, op)?;
            }
            Pass::BackwardInput => {
                let (dy, w) = (input(&mut b, "dy", y)?, input(&mut b, "w", w)?);
                let op = b.apply(Conv2dBackwardInput { stride, padding, size: [size; 2] }, &[dy, w]);
                node(&mut b, op)?;
            }
            Pass::BackwardWeight => {
                let (dy, x) = (input(&mut b, "dy", y)?, input(&mut b, "x", x)?);
                let op = b.apply(Conv2dBackwardWeight { stride, padding, kernel: [kernel; 2] }, &[dy, x]);
                node(&mut b, op)?;
            }
        }
        let graph = fuse(b.finish(), &rules())?;
        let flops = graph.nodes().iter().map(|n| graph.cost(n).flops).sum();
        let inputs: Vec<(String, TensorType)> = graph.inputs().map(|(_, info)| (info.name.clone(), info.ty)).collect();
        let mut store = Store::new(device);
        let mut session = Session::new(graph, &mut store, Options::default())?;
        for (name, ty) in inputs {
            let numbers = (0..ty.len()).map(|n| (n * 7919 % 1009) as f32 / 1009.0 - 0.5).collect();
            session.write(&name, &Tensor::from_f32(ty.shape, numbers)?)?;
        }
        session.run(&mut store, Segment::Run)?;
        Ok((store, session, flops))
    }
}

fn convolutions(criterion: &mut Criterion) {
    let device = match Device::cpu(setting("ESCNET_THREADS", 0)) {
        Ok(device) => device,
        Err(error) => return eprintln!("{error}"),
    };
    for (name, pass) in Pass::ALL {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).warm_up_time(Duration::from_millis(30)).measurement_time(Duration::from_millis(150));
        for shape @ (size, i, o, kernel, stride) in RESNET50 {
            let id = BenchmarkId::from_parameter(format!("{size}x{i}_{o}x{kernel}_s{stride}"));
            let (mut store, mut session, flops) = match pass.session(&device, shape) {
                Ok(made) => made,
                Err(error) => return eprintln!("{error}"),
            };
            group.throughput(Throughput::Elements(flops));
            group.bench_function(id, |bencher| bencher.iter(|| session.run(&mut store, Segment::Run)));
        }
        group.finish();
    }
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
