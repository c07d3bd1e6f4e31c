//! escnet's wgpu device beside burn and meganeura on one adapter: `wgpu_bench [--rounds 9] [--only TEXT] [--date D] [--commit C]`.
//!
//! For each case and peer: results compared, warmed up, then escnet and the peer by turns. Prints CSV on stdout, talks on stderr.

mod case;
mod ours;
mod with_burn;
mod with_meganeura;

use case::{CASES, Case, Host, Subject};
use escnet::Device;
use escnet::device::wgpu::adapters;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The versions in Cargo.toml.
const PEERS: [(&str, &str); 2] = [("burn", "0.22.1"), ("meganeura", "0.3.0")];

/// Largest difference allowed, of the largest number.
const LIMIT: f32 = 1e-3;

struct Args {
    rounds: usize,
    only: String,
    date: String,
    commit: String,
}

fn args() -> Result<Args> {
    let mut a = Args { rounds: 9, only: String::new(), date: String::new(), commit: String::new() };
    let mut rest = std::env::args().skip(1);
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => a.rounds = value()?.parse()?,
            "--only" => a.only = value()?,
            "--date" => a.date = value()?,
            "--commit" => a.commit = value()?,
            _ => return Err(format!("unexpected {arg}; usage: wgpu_bench [--rounds 9] [--only TEXT] [--date D] [--commit C]").into()),
        }
    }
    if a.rounds < 7 { Err("at least 7 rounds".into()) } else { Ok(a) }
}

fn peer(name: &str, case: &Case, inputs: &[Host], adapter: &str) -> Result<Box<dyn Subject>> {
    if name == "burn" {
        return Ok(Box::new(with_burn::Burn::new(case, inputs)?));
    }
    let peer = with_meganeura::Meganeura::new(case, inputs)?;
    if peer.adapter() == adapter { Ok(Box::new(peer)) } else { Err(format!("runs on {}, not on {adapter}", peer.adapter()).into()) }
}

/// The largest difference between the two, of the largest number, over all results.
fn difference(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> Result<f32> {
    let mut worst = 0.0f32;
    for (a, b) in ours.iter().zip(theirs) {
        let largest = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        if a.len() != b.len() || largest == 0.0 || a.iter().chain(b).any(|x| !x.is_finite()) {
            return Err(format!("{} numbers, theirs {}, the largest {largest}, or not all finite", a.len(), b.len()).into());
        }
        worst = a.iter().zip(b).fold(worst, |m, (a, b)| m.max((a - b).abs() / largest));
    }
    if ours.len() == theirs.len() { Ok(worst) } else { Err(format!("{} results, theirs {}", ours.len(), theirs.len()).into()) }
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

/// Median, smallest, largest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    [(values[(n - 1) / 2] + values[n / 2]) / 2.0, values[0], values[n - 1]]
}

/// The row from `op` on.
fn measure(device: &Device, adapter: &str, (name, version): (&str, &str), case: &Case, rounds: usize) -> Result<String> {
    let inputs = case.inputs();
    let mut ours = ours::Ours::new(device, case, &inputs)?;
    let mut theirs = peer(name, case, &inputs, adapter)?;
    // The first run makes pipelines and tunes.
    for subject in [&mut ours as &mut dyn Subject, &mut *theirs] {
        for _ in 0..3 {
            subject.time()?;
        }
    }
    let worst = difference(&ours.results()?, &theirs.results()?)?;
    if worst > LIMIT {
        return Err(format!("results differ by {worst:.1e} of the largest number").into());
    }
    let (before, start) = (busy()?, Instant::now());
    let mut pairs = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        pairs.push((ours.time()?, theirs.time()?));
    }
    let (after, wall) = (busy()?, start.elapsed().as_secs_f64());
    let others = ((after.0 - before.0) - (after.1 - before.1)).max(0.0) / wall;
    let [own, ..] = spread(pairs.iter().map(|p| p.0).collect());
    let [peer, ..] = spread(pairs.iter().map(|p| p.1).collect());
    let [ratio, least, most] = spread(pairs.iter().map(|(a, b)| a / b).collect());
    let threads = match std::env::var("LP_NUM_THREADS") {
        Ok(threads) => threads,
        Err(_) => std::thread::available_parallelism()?.to_string(),
    };
    eprintln!("{} {} {}: escnet {own:.2} ms, {name} {peer:.2} ms, {ratio:.2} ({least:.2} to {most:.2})", case.op(), case.shape(), case.pass());
    Ok(format!(
        "{},{},{},{name},{version},{own:.3},{peer:.3},{ratio:.3},{least:.3},{most:.3},{rounds},{threads},differs by {worst:.0e}; others kept {others:.2} cores busy",
        case.op(),
        case.shape(),
        case.pass()
    ))
}

fn main() -> Result<()> {
    let a = args()?;
    let device = Device::wgpu(None)?;
    let name = device.gpu().ok_or("no GPU")?.name().to_owned();
    let found = adapters().into_iter().find(|adapter| adapter.name == name).ok_or("the adapter is gone")?;
    println!("date,commit,adapter,driver,op,shape,pass,peer,peer_version,escnet_ms,peer_ms,ratio,ratio_min,ratio_max,rounds,threads,note");
    let mut failures = 0;
    for case in &CASES {
        for peer in PEERS {
            let label = format!("{} {} {} {}", case.op(), case.shape(), case.pass(), peer.0);
            if !label.contains(&a.only) {
                continue;
            }
            // Peers panic where others return errors.
            let row = catch_unwind(AssertUnwindSafe(|| measure(&device, &name, peer, case, a.rounds))).unwrap_or_else(|_| Err("panicked".into()));
            match row {
                Ok(row) => println!("{},{},\"{}\",{},{row}", a.date, a.commit, found.name, found.driver),
                Err(e) => {
                    eprintln!("{label}: {e}");
                    failures += 1;
                }
            }
        }
    }
    if failures == 0 { Ok(()) } else { Err(format!("{failures} measurements failed").into()) }
}
