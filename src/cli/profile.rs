//! `escnet profile`: where a graph's time goes.

use super::Done;
use super::bench::{Graph, seconds, time};
use super::inspect::Format;
use super::model::{Precision, Where};
use super::table::{Table, short};
use super::talk::Talk;
use clap::Args;
use escnet::Error;
use escnet::bench::parts::model;
use escnet::bench::peaks::{Bound, Peaks};
use escnet::bench::profile::{Profile, Setting, Share, Spent, profile};
use escnet::bench::sampling::Patience;
use escnet::bench::{memory, roofline, trace};
use escnet::durable::write_atomically;
use escnet::infer::inspect::part_of;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the time of one of a model's graphs goes: by part, by operator, node by node, against what the device could do.
///
/// Numbers are drawn at random, since times hardly depend on them; a model's config.json is enough. A GPU's nodes are timed one by one by its own clock, so that
/// together they take longer than in a run without.
#[derive(Debug, Args)]
pub struct Profiled {
    /// The graph
    #[arg(value_enum)]
    graph: Graph,
    /// The model: escnet-base, escnet-tiny, or a folder with a config.json
    #[arg(short, long, value_name = "MODEL", default_value = "escnet-base")]
    model: String,
    #[command(flatten)]
    device: Where,
    /// What it computes in
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// Pictures that run at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// Runs that are averaged
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Also each node
    #[arg(long)]
    nodes: bool,
    /// Seconds that measuring the roofs may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    time: f64,
    /// Draws a roofline here, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Draws memory over time here, as SVG
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
    /// Writes a trace here that Perfetto and chrome://tracing open
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
}

impl Profiled {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        let config = model(&self.model)?;
        let device = self.device.open(self.dtype.into(), talk)?;
        let most = seconds(self.time)?;
        let peaks = Peaks::measure(&device, &Patience { least: most.min(Duration::from_secs(1)), most, ..Patience::default() })?;
        talk.note(super::peaks::told(&peaks).trim_end());
        let setting = Setting { part: self.graph.into(), batch: self.batch.into(), dtype: self.dtype.into(), runs: self.runs.into() };
        let profile = profile(&config, &setting, &device, Some(&peaks))?;
        self.svg.iter().try_for_each(|path| write(path, &roofline::draw(&profile, &peaks)))?;
        self.memory.iter().try_for_each(|path| write(path, &memory::draw(&profile, part_of)))?;
        self.trace.iter().try_for_each(|path| write(path, &trace::trace(&profile, part_of).to_string()))?;
        let text = match self.format {
            Format::Json => {
                let (parts, operators) = sums(&profile);
                serde_json::json!({ "peaks": peaks, "profile": profile, "parts": parts, "operators": operators }).to_string() + "\n"
            }
            Format::Table => self.table(&profile),
        };
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }

    fn table(&self, profile: &Profile) -> String {
        let whole = profile.us();
        let planned = short(profile.planned);
        let most = profile.nodes.iter().map(|node| node.live).max().unwrap_or(0);
        let mut text = format!(
            "{}, {} at once, {}: {} in {} nodes; {planned}B planned, at most {}B live\n\n",
            profile.part,
            profile.batch,
            profile.dtype,
            time(whole),
            profile.nodes.len(),
            short(most)
        );
        let (parts, operators) = sums(profile);
        text += &shares("part", &parts, whole);
        text.push('\n');
        text += &shares("operator", &operators, whole);
        if self.nodes {
            text.push('\n');
            text += &nodes(&profile.nodes, whole);
        }
        text
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    write_atomically(path, |out| out.write_all(text.as_bytes()).map_err(|e| Error::io(path, e)))
}

/// By part of the model, and by operator.
fn sums(profile: &Profile) -> (Vec<Share>, Vec<Share>) {
    (profile.shares(|node| part_of(&node.scope)), profile.shares(|node| node.op.clone()))
}

fn bound_by(bound: Option<Bound>) -> String {
    bound.map_or("", |bound| if bound == Bound::Memory { "memory" } else { "arithmetic" }).to_owned()
}

fn shares(title: &'static str, shares: &[Share], whole: f64) -> String {
    let row = |s: &Share| {
        let rate = |of: u64| short((of as f64 / s.us.max(1e-3) * 1e6) as u64);
        let roof = s.floor.map_or(String::new(), |floor| format!("{:.0}%", 100.0 * floor / s.us.max(1e-3)));
        vec![
            s.name.clone(),
            s.nodes.to_string(),
            time(s.us),
            format!("{:.1}%", 100.0 * s.us / whole),
            short(s.flops),
            short(s.bytes),
            rate(s.flops),
            rate(s.bytes),
            roof,
            bound_by(s.bound),
        ]
    };
    let titles = [
        (title, false),
        ("nodes", true),
        ("time", true),
        ("share", true),
        ("FLOP", true),
        ("bytes", true),
        ("FLOP/s", true),
        ("B/s", true),
        ("roof", true),
        ("bound by", false),
    ];
    Table::written(&titles, &shares.iter().map(row).collect::<Vec<_>>())
}

fn nodes(nodes: &[Spent], whole: f64) -> String {
    let row = |n: &Spent| {
        let roof = n.roof.map_or(String::new(), |roof| format!("{:.0}%", 100.0 * roof));
        vec![
            n.scope.clone(),
            n.op.clone(),
            n.gives.clone(),
            time(n.us),
            format!("{:.1}%", 100.0 * n.us / whole),
            roof,
            bound_by(n.bound),
            short(n.live),
        ]
    };
    let titles = [
        ("node", false),
        ("operator", false),
        ("gives", false),
        ("time", true),
        ("share", true),
        ("roof", true),
        ("bound by", false),
        ("live", true),
    ];
    Table::written(&titles, &nodes.iter().map(row).collect::<Vec<_>>())
}
