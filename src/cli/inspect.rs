//! `escnet inspect`: what a model costs, counted without running it.

use super::Done;
use super::model::{Precision, expect_files};
use super::stop::Stop;
use super::table::{Table, short};
use clap::{Args, ValueEnum};
use console::style;
use escnet::bench::drawing::{self, Drawing};
use escnet::bench::parts::Part;
use escnet::bench::profile::{self, profile_graph};
use escnet::durable::write_atomically;
use escnet::graph::prepare;
use escnet::infer::Generation;
use escnet::infer::inspect::{Inspection, Setting, Share, Stage, Weights, build, inspect, weights};
use escnet::model::config::{CONFIG_FILE, EscnetConfig};
use escnet::ops::rules;
use escnet::{Device, Error};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Runs whose mean is a node's time.
const RUNS: usize = 5;

/// Counts a model's parameters, operations and memory.
///
/// Nothing is loaded, and nothing is run without --device: a model's config.json is enough. An operation is a floating-point one, a multiply-add counted as two;
/// bytes are those that must be read and written, each tensor once.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A model's folder, or its config.json
    #[arg(env = "ESCNET_MODEL", hide_env_values = true)]
    model: PathBuf,
    /// Pictures that run at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// Only this graph
    #[arg(long, value_enum)]
    only: Option<Graph>,
    /// Draws the graphs, before fusion and after it: a .svg, a .dot for Graphviz, or an .html in which nodes can be asked
    #[arg(long, value_name = "FILE")]
    graph: Option<PathBuf>,
    /// Runs the graphs that are drawn on this device, with random numbers, for times and texts of kernels
    #[arg(long, value_name = "DEVICE", requires = "graph")]
    device: Option<String>,
    /// Beams of the caption search
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    beam: u16,
    /// The most tokens of a caption
    #[arg(long, value_name = "N", default_value_t = 40)]
    max_len: usize,
    /// What is computed in
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// CPU threads that want scratch memory
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Also each operator, and each of its executions
    #[arg(long)]
    ops: bool,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
}

/// A graph of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Graph {
    /// Backbone, text encoder and fusion, once a picture
    Classify,
    /// The captioner's vision tower, once a picture
    CaptionEncode,
    /// A decoding step of the captioner, once a token
    CaptionStep,
}

/// How it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON object
    Json,
}

impl Graph {
    fn stage(self) -> Stage {
        match self {
            Graph::Classify => Stage::Classify,
            Graph::CaptionEncode => Stage::CaptionEncode,
            Graph::CaptionStep => Stage::CaptionStep,
        }
    }
}

impl Inspect {
    /// Does it.
    pub fn run(self) -> Done {
        if !self.model.is_file() {
            expect_files(&self.model, &[CONFIG_FILE])?;
        }
        let config = EscnetConfig::open(&self.model)?;
        let generation = Generation { beams: self.beam.into(), max_length: self.max_len, ..Generation::default() };
        let setting = Setting { batch: self.batch.into(), dtype: self.dtype.into(), threads: self.threads.max(1), generation };
        let stages = self.only.map_or(Stage::ALL.to_vec(), |graph| vec![graph.stage()]);
        let inspections = stages.iter().map(|&stage| inspect(&config, stage, &setting)).collect::<escnet::Result<Vec<_>>>()?;
        self.graph.iter().try_for_each(|path| self.draw(path, &config, &setting, &stages))?;
        let weights = weights(&config)?;
        let text = match self.format {
            Format::Json => self.json(&weights, &inspections).to_string() + "\n",
            Format::Table => self.table(&weights, &inspections),
        };
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }

    fn draw(&self, path: &Path, config: &EscnetConfig, setting: &Setting, stages: &[Stage]) -> Done {
        let form = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let written = match form {
            "svg" => drawing::svg,
            "dot" => drawing::dot,
            "html" => drawing::html,
            _ => return Err(Stop::Usage(format!("--graph {}: expected a name that ends with .svg, .dot or .html", path.display()))),
        };
        let device = self.device.as_ref().map(|name| Device::parse(name, self.threads, setting.dtype)).transpose()?;
        let mut drawing = Drawing::new(format!("{}, {} at once, {}", self.model.display(), self.batch, setting.dtype));
        for &stage in stages {
            let name = Part::Inference(stage).name();
            let graph = build(config, stage, setting)?;
            drawing.add(format!("{name}, as written"), &graph, setting.threads);
            let fused = prepare(graph, &rules(), setting.dtype)?;
            drawing.add(format!("{name}, fused"), &fused, setting.threads);
            if let Some(device) = &device {
                super::cache::folder().iter().for_each(|folder| device.keep_pipelines(folder));
                let setting = profile::Setting { part: Part::Inference(stage), batch: setting.batch, dtype: setting.dtype, runs: RUNS };
                drawing.measured(&profile_graph(fused, config, &setting, device, None)?);
            }
        }
        let text = written(&drawing);
        Ok(write_atomically(path, |out| out.write_all(text.as_bytes()).map_err(|e| Error::io(path, e)))?)
    }

    fn json(&self, weights: &[Weights], inspections: &[Inspection]) -> serde_json::Value {
        let mut graphs = serde_json::json!(inspections);
        if !self.ops {
            for graph in graphs.as_array_mut().into_iter().flatten().filter_map(serde_json::Value::as_object_mut) {
                graph.remove("ops");
                graph.remove("nodes");
            }
        }
        serde_json::json!({ "model": self.model.display().to_string(), "batch": self.batch, "weights": weights, "graphs": graphs })
    }

    fn table(&self, weights: &[Weights], inspections: &[Inspection]) -> String {
        let total = |of: fn(&Weights) -> u64| weights.iter().map(of).sum::<u64>();
        let row = |name: &str, tensors: usize, numbers: [u64; 3]| -> Vec<String> {
            [name.to_owned(), tensors.to_string()].into_iter().chain(numbers.map(short)).collect()
        };
        let mut rows: Vec<Vec<String>> = weights.iter().map(|w| row(w.part, w.tensors, [w.parameters, w.statistics, w.bytes])).collect();
        let tensors = weights.iter().map(|w| w.tensors).sum();
        rows.push(row("together", tensors, [total(|w| w.parameters), total(|w| w.statistics), total(|w| w.bytes)]));
        let mut text = Table::written(&[("weights", false), ("tensors", true), ("parameters", true), ("statistics", true), ("bytes", true)], &rows);
        for inspection in inspections {
            text.push('\n');
            text += &self.graph(inspection);
        }
        text
    }

    fn graph(&self, graph: &Inspection) -> String {
        let (title, how_often) = match graph.stage {
            Stage::Classify => ("classify", "once a picture"),
            Stage::CaptionEncode => ("caption-encode", "once a picture"),
            Stage::CaptionStep => ("caption-step", "once a token"),
        };
        let beams = if graph.stage == Stage::CaptionStep { format!(", {} beams", self.beam) } else { String::new() };
        let mut text = format!("{}: {how_often}, {} at once{beams}\n", style(title).bold(), self.batch);
        text += &format!("  {} nodes run; {} before fusion, {} moved to loading\n", graph.nodes_after, graph.nodes_before, graph.nodes_prepared);
        let saved = 100.0 * (1.0 - graph.peak_bytes as f64 / graph.total_bytes.max(1) as f64);
        let saved = if saved > 0.0 { format!(" ({saved:.0}% saved)") } else { String::new() };
        let (peak, sum) = (short(graph.peak_bytes), short(graph.total_bytes));
        text += &format!("  {peak}B planned, scratch included; all tensors together have {sum}B{saved}\n");
        if graph.cache_bytes > 0 {
            text += &format!("  {}B of caches\n", short(graph.cache_bytes));
        }
        text.push('\n');
        text += &shares("part", &graph.parts, Some((graph.nodes_after, graph.flops, graph.bytes)));
        if self.ops {
            text.push('\n');
            text += &shares("operator", &graph.ops, None);
            let row =
                |n: &escnet::infer::inspect::Execution| vec![n.scope.clone(), n.op.clone(), short(n.flops), short(n.bytes), n.outputs.join(" ")];
            let rows: Vec<Vec<String>> = graph.nodes.iter().map(row).collect();
            text.push('\n');
            text += &Table::written(&[("node", false), ("operator", false), ("FLOP", true), ("bytes", true), ("gives", false)], &rows);
        }
        text
    }
}

fn shares(title: &'static str, shares: &[Share], together: Option<(usize, u64, u64)>) -> String {
    let intensity = |flops: u64, bytes: u64| format!("{:.1}", flops as f64 / bytes.max(1) as f64);
    let row = |name: &str, nodes: usize, flops: u64, bytes: u64| -> Vec<String> {
        vec![name.to_owned(), nodes.to_string(), short(flops), short(bytes), intensity(flops, bytes)]
    };
    let mut rows: Vec<Vec<String>> = shares.iter().map(|s| row(&s.name, s.nodes, s.flops, s.bytes)).collect();
    rows.extend(together.map(|(nodes, flops, bytes)| row("together", nodes, flops, bytes)));
    Table::written(&[(title, false), ("nodes", true), ("FLOP", true), ("bytes", true), ("FLOP/byte", true)], &rows)
}
