//! What the lessons of the course have in common: versions of one computation, each checked against f64, then timed.

use escnet::graph::{Builder, Options, Segment, Session, Store, Value};
use escnet::{Device, Result, Tensor, TensorType};
use std::time::{Duration, Instant};

/// What computes the whole result.
type Compute<'a> = Box<dyn FnMut(&mut [f32]) + 'a>;

/// A version.
pub struct Rung<'a> {
    /// What it is called.
    pub name: &'static str,
    /// Bytes of memory that it needs beside its inputs and its result, where that is known.
    pub extra: Option<usize>,
    /// Its code.
    pub run: Compute<'a>,
}

/// A version that is code of its own.
pub fn rung<'a>(name: &'static str, extra: usize, run: impl FnMut(&mut [f32]) + 'a) -> Rung<'a> {
    Rung { name, extra: Some(extra), run: Box::new(run) }
}

/// What the library's version is given: a type, numbers, and whether they are a weight, which it may keep in a form that it likes better.
pub type Given<'a> = (TensorType, &'a [f32], bool);

/// The library's version on a CPU: a graph of one node.
///
/// # Errors
/// Those of the node's shape rule.
pub fn library(name: &'static str, threads: usize, given: &[Given], node: impl Fn(&mut Builder, &[Value]) -> Result<Value>) -> Result<Rung<'static>> {
    let mut b = Builder::new();
    let called = |i: usize| format!("given {i}");
    let declare = |(i, (ty, _, is_weight)): (usize, &Given)| if *is_weight { b.parameter(&called(i), ty.shape) } else { b.input(&called(i), *ty) };
    let values = given.iter().enumerate().map(declare).collect::<Result<Vec<_>>>()?;
    let y = node(&mut b, &values)?;
    b.output("y", y);
    let mut store = Store::new(&Device::cpu(threads)?);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    for (i, (ty, numbers, is_weight)) in given.iter().enumerate() {
        let tensor = Tensor::from_f32(ty.shape, numbers.to_vec())?;
        if *is_weight { store.write(&called(i), &tensor)? } else { session.write(&called(i), &tensor)? }
    }
    let run = move |y: &mut [f32]| {
        session.run(&mut store, Segment::Run).expect("it runs");
        y.copy_from_slice(&session.read("y", &mut store).expect("it is there").to_f32());
    };
    Ok(Rung { name, extra: None, run: Box::new(run) })
}

/// Runs all versions of a computation of so many FLOPs: what each took, and how much faster it is than the first.
///
/// # Panics
/// Where one is wrong: what is wrong is not timed.
pub fn climb(title: &str, flops: f64, want: &[f64], rungs: Vec<Rung>) {
    let is_csv = std::env::args().any(|arg| arg == "--csv");
    if !is_csv {
        println!("{title}, {:.1} MFLOP", flops / 1e6);
        println!("  {:<44} {:>10} {:>9} {:>7} {:>10} {:>8}", "version", "time", "GFLOP/s", "gain", "memory", "error");
    }
    let mut first = None;
    for mut rung in rungs {
        // Poisoned, so that what is left out shows.
        let mut got = vec![f32::NAN; want.len()];
        (rung.run)(&mut got);
        let error = relative_error(&got, want);
        assert!(error < 1e-5, "{}: relative error {error}", rung.name);
        let seconds = median(|| (rung.run)(&mut got));
        let gain = *first.get_or_insert(seconds) / seconds;
        if is_csv {
            println!(
                "\"{title}\",\"{}\",{:.3},{:.3},{gain:.2},{},{error:.1e}",
                rung.name,
                seconds * 1e3,
                flops / seconds / 1e9,
                rung.extra.map_or(String::new(), |extra| extra.to_string())
            );
        } else {
            let memory =
                rung.extra.map_or(String::new(), |extra| if extra == 0 { "none".to_owned() } else { format!("{:.1} kB", extra as f64 / 1e3) });
            println!("  {:<44} {:>7.3} ms {:>9.2} {gain:>6.1}x {memory:>10} {error:>8.0e}", rung.name, seconds * 1e3, flops / seconds / 1e9);
        }
    }
}

/// ‖got - want‖ / ‖want‖; NaN where a number is.
fn relative_error(got: &[f32], want: &[f64]) -> f64 {
    let apart: f64 = got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).powi(2)).sum();
    (apart / want.iter().map(|want| want * want).sum::<f64>().max(f64::MIN_POSITIVE)).sqrt()
}

/// Of five runs and a fifth of a second at least.
fn median(mut run: impl FnMut()) -> f64 {
    let (mut times, begun) = (Vec::new(), Instant::now());
    while times.len() < 5 || begun.elapsed() < Duration::from_millis(200) {
        let now = Instant::now();
        run();
        times.push(now.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Numbers between -1 and 1 in no order.
pub fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    (0..n).map(|_| next() as f32).collect()
}

/// The first argument that is a number, or the size that a lesson has without.
pub fn size(usual: usize) -> usize {
    std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(usual)
}
