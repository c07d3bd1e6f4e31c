//! rten on ResNet-50: `rten_bench MODEL.onnx [--threads 2] [--batch N] [--iters 40] [--seconds 20]`.
//!
//! Prints one JSON row per batch size (1 and 8), each measured in a fresh process; `--batch` measures that one
//! in this process.
use std::sync::Arc;
use std::time::{Duration, Instant};

use rten::{ModelOptions, RunOptions, ThreadPool};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Args {
    model: String,
    threads: usize,
    batch: Option<usize>,
    iters: usize,
    seconds: f64,
}

fn args() -> Result<Args> {
    let mut a = Args { model: String::new(), threads: 2, batch: None, iters: 40, seconds: 20.0 };
    let mut rest = std::env::args().skip(1);
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--threads" => a.threads = value()?.parse()?,
            "--batch" => a.batch = Some(value()?.parse()?),
            "--iters" => a.iters = value()?.parse()?,
            "--seconds" => a.seconds = value()?.parse()?,
            _ if arg.starts_with("--") || !a.model.is_empty() => return Err(format!("unexpected {arg}").into()),
            _ => a.model = arg,
        }
    }
    if a.model.is_empty() || a.threads == 0 || a.batch == Some(0) {
        return Err("usage: rten_bench MODEL.onnx [--threads 2] [--batch N] [--iters 40] [--seconds 20]".into());
    }
    Ok(a)
}

/// The fixed input of every program here.
fn numbers(shape: [usize; 4]) -> NdTensor<f32, 4> {
    let n = shape.iter().product::<usize>();
    let data = (0..n).map(|i| ((i * 7919) % 2001) as f32 / 1000.0 - 1.0).collect::<Vec<_>>();
    NdTensor::from_data(shape, data)
}

fn peak_rss_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|l| l.starts_with("VmHWM")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).ok_or("no VmHWM")?.parse::<f64>()? / 1024.0)
}

/// Seconds of processor time spent so far by the whole machine and by this process, at the usual 100 ticks a second.
fn busy() -> Result<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().ok_or("empty /proc/stat")?.split_whitespace().skip(1).map(|v| v.parse());
    let all = all.collect::<std::result::Result<Vec<f64>, _>>()?;
    let own = std::fs::read_to_string("/proc/self/stat")?;
    let own = own.rsplit(')').next().unwrap_or("").split_whitespace().skip(11).take(2).map(|v| v.parse());
    let own = own.collect::<std::result::Result<Vec<f64>, _>>()?;
    Ok(((all[..3].iter().sum::<f64>() + all[5..8].iter().sum::<f64>()) / 100.0, own.iter().sum::<f64>() / 100.0))
}

fn measure(a: &Args, batch: usize) -> Result<()> {
    let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(&a.model)?;
    let mut options = RunOptions::default();
    options.thread_pool = Some(Arc::new(ThreadPool::with_num_threads(a.threads)));
    let image = numbers([batch, 3, 224, 224]);
    let run = || -> Result<Tensor<f32>> { Ok(model.run_one(image.view().into(), Some(options.clone()))?.try_into()?) };
    let mut logits = run()?;
    for _ in 0..2 {
        logits = run()?;
    }
    let norm = logits.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    let mut ms = Vec::new();
    let (before, start) = (busy()?, Instant::now());
    let end = start + Duration::from_secs_f64(a.seconds);
    while ms.len() < a.iters && (ms.len() < 5 || Instant::now() < end) {
        let t = Instant::now();
        run()?;
        ms.push(t.elapsed().as_secs_f64() * 1e3);
    }
    let (after, wall) = (busy()?, start.elapsed().as_secs_f64());
    let others = ((after.0 - before.0) - (after.1 - before.1)).max(0.0) / wall;
    ms.sort_by(f64::total_cmp);
    let at = |q: f64| ms[((q * (ms.len() - 1) as f64 + 0.5) as usize).min(ms.len() - 1)];
    println!(
        "{{\"peer\": \"rten\", \"name\": \"resnet50_infer\", \"batch\": {batch}, \"threads\": {}, \
         \"ms\": {{\"median\": {:.3}, \"p5\": {:.3}, \"p95\": {:.3}, \"n\": {}, \"others\": {others:.2}}}, \"peak_rss_mb\": {:.1}, \
         \"check\": {norm:.6}, \"variant\": \"rten 0.27.0, prepacked weights\"}}",
        a.threads,
        at(0.5),
        at(0.05),
        at(0.95),
        ms.len(),
        peak_rss_mb()?
    );
    Ok(())
}

fn main() -> Result<()> {
    let a = args()?;
    if let Some(batch) = a.batch {
        return measure(&a, batch);
    }
    for batch in [1, 8] {
        let ok = std::process::Command::new(std::env::current_exe()?)
            .args(std::env::args().skip(1))
            .args(["--batch", &batch.to_string()])
            .status()?
            .success();
        if !ok {
            return Err(format!("batch {batch} failed").into());
        }
    }
    Ok(())
}
