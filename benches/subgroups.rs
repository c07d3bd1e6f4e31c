//! Kernels with reductions, by subgroups and without, on one adapter: `cargo bench --features wgpu --bench subgroups -- [--rounds 9] [--only TEXT]
//! [--date D] [--commit C]`.
//!
//! The GPU's own clock; both by turns, the first of them changing every round. Prints CSV on stdout, talks on stderr. A row in whose `others` other
//! programs kept more than a tenth of a core busy tells little of milliseconds, and of ratios only what their spread says.

use escnet::bench::others::Others;
use escnet::device::wgpu::{Abilities, adapters};
use escnet::graph::{Builder, Options, Segment, Session, Store, Value};
use escnet::ops::attention::{AttentionOptions, Qkv, attention};
use escnet::ops::cross_entropy::cross_entropy;
use escnet::ops::layernorm::layernorm;
use escnet::ops::softmax::softmax;
use escnet::ops::top_k::top_k;
use escnet::{DType, Device, Tensor, TensorType};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Something to measure: its operator, its shape in words, and the graph.
type Case = (&'static str, &'static str, fn(&mut Builder) -> escnet::Result<Value>);

/// ESCNet-base: pictures of 577 tokens, 12 heads of 64, a vocabulary of 30524.
const CASES: [Case; 6] = [
    ("softmax", "8x12x577 rows of 577", |b| {
        let x = b.input("x", TensorType::f32([8, 12, 577, 577]))?;
        softmax(b, x)
    }),
    ("layernorm", "577x768", |b| normalized(b, 577)),
    ("layernorm", "4616x768", |b| normalized(b, 4616)),
    ("cross_entropy", "160x30524", |b| {
        let (x, labels) = (b.input("x", TensorType::f32([160, 30524]))?, b.input("labels", TensorType::new(DType::I32, [160]))?);
        cross_entropy(b, x, labels, None, 0.1, -100)
    }),
    ("attention", "3 queries 577 keys 12 heads of 64", |b| {
        let q = b.input("q", TensorType::f32([3, 1, 768]))?;
        let (k, v) = (b.input("k", TensorType::f32([1, 577, 768]))?, b.input("v", TensorType::f32([1, 577, 768]))?);
        Ok(attention(b, Qkv::Separate { q, k, v }, AttentionOptions::new(12, 64))?.y)
    }),
    ("top_k", "6 of 3x30524", |b| {
        let x = b.input("x", TensorType::f32([3, 30524]))?;
        Ok(top_k(b, x, 6)?.0)
    }),
];

fn normalized(b: &mut Builder, rows: usize) -> escnet::Result<Value> {
    let x = b.input("x", TensorType::f32([rows, 768]))?;
    let (w, bias) = (b.input("w", TensorType::f32([768]))?, b.input("b", TensorType::f32([768]))?);
    layernorm(b, x, w, bias, 1e-12)
}

/// A case on one device, ready to be run again and again.
struct Subject {
    store: Store,
    session: Session,
}

impl Subject {
    fn new(case: &Case, most: Abilities) -> Result<Self> {
        let mut store = Store::new(&Device::wgpu_with(None, most)?);
        let mut b = Builder::new();
        let y = (case.2)(&mut b)?;
        b.output("y", y);
        let graph = b.finish();
        let inputs: Vec<(String, TensorType)> = graph.inputs().map(|(_, info)| (info.name.clone(), info.ty)).collect();
        let mut session = Session::new(graph, &mut store, Options { timed: true, ..Options::default() })?;
        for (name, ty) in inputs {
            let n = ty.len();
            session.write(
                &name,
                &match ty.dtype {
                    DType::I32 => Tensor::from_i32(ty.shape, (0..n as i32).map(|i| i * 37).collect())?,
                    _ => Tensor::from_f32(ty.shape, (0..n).map(|i| (i * 7919 % 2003) as f32 / 500.0 - 2.0).collect())?,
                },
            )?;
        }
        Ok(Subject { store, session })
    }

    /// Milliseconds of a run.
    fn time(&mut self) -> Result<f64> {
        self.session.run(&mut self.store, Segment::Run)?;
        Ok(self.session.times()?.iter().map(|node| node.time.as_secs_f64() * 1e3).sum())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        Ok(self.session.read("y", &mut self.store)?.to_f32())
    }
}

/// Smallest, median, largest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    [values[0], (values[(n - 1) / 2] + values[n / 2]) / 2.0, values[n - 1]]
}

/// The columns from `op` on, but the last.
fn measure(case: &Case, rounds: usize) -> Result<String> {
    let mut subjects = [Subject::new(case, Abilities::ALL)?, Subject::new(case, Abilities { subgroups: false, ..Abilities::ALL })?];
    // The first run makes pipelines.
    for _ in 0..3 {
        for subject in &mut subjects {
            subject.time()?;
        }
    }
    let [with, without] = [subjects[0].result()?, subjects[1].result()?];
    let largest = without.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let apart = with.iter().zip(&without).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    if apart.is_nan() || apart > 1e-5 * largest {
        return Err(format!("results differ by {apart:e}, the largest is {largest}").into());
    }
    let others = Others::watch();
    let mut ms = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for i in [round % 2, 1 - round % 2] {
            ms[i].push(subjects[i].time()?);
        }
    }
    let [least, ratio, most] = spread(ms[0].iter().zip(&ms[1]).map(|(with, without)| with / without).collect());
    let [[_, with, _], [_, without, _]] = ms.map(spread);
    eprintln!("{} {}: {with:.3} ms, without {without:.3}, ratio {ratio:.3} ({least:.3} to {most:.3})", case.0, case.1);
    Ok(format!("{},{},{with:.3},{without:.3},{least:.3},{ratio:.3},{most:.3},{rounds},{:.2}", case.0, case.1, others.cores()))
}

fn main() -> Result<()> {
    let (mut rounds, mut only, mut date, mut commit) = (9, String::new(), String::new(), String::new());
    let mut rest = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(arg) = rest.next() {
        let value = rest.next().ok_or(format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--rounds" => rounds = value.parse()?,
            "--only" => only = value,
            "--date" => date = value,
            "--commit" => commit = value,
            _ => return Err(format!("unexpected {arg}").into()),
        }
    }
    let adapter = adapters().into_iter().min_by_key(|a| a.kind).ok_or("no adapter")?;
    if !adapter.abilities.subgroups {
        return Err(format!("{} has no subgroups", adapter.name).into());
    }
    println!("date,commit,driver,op,shape,ms_with,ms_without,ratio_min,ratio,ratio_max,rounds,others");
    for case in CASES.iter().filter(|case| format!("{} {}", case.0, case.1).contains(&only)) {
        println!("{date},{commit},{},{}", adapter.driver, measure(case, rounds)?);
    }
    Ok(())
}
