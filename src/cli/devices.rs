//! `escnet devices`: what `--device` takes on this machine.

use super::Done;
use super::inspect::Format;
use super::table::Table;
use super::talk::Talk;
use clap::Args;
use escnet::{DType, Device};
use serde::Serialize;
use std::io::Write;

/// Lists the devices that `--device` takes on this machine.
#[derive(Debug, Args)]
pub struct Devices {
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Line {
    device: String,
    name: String,
    kind: &'static str,
    driver: String,
}

impl Devices {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        let lines = lines();
        let mut out = std::io::stdout();
        match self.format {
            Format::Json => writeln!(out, "{}", serde_json::json!({ "devices": lines }))?,
            Format::Table => {
                let rows: Vec<Vec<String>> =
                    lines.iter().map(|l| vec![l.device.clone(), l.name.clone(), l.kind.to_owned(), l.driver.clone()]).collect();
                let titles = ["device", "name", "kind", "driver"];
                let table = Table::fitting(&titles.map(|t| (t, false)), &rows);
                write!(out, "{}", table.line(&titles.map(str::to_owned)))?;
                rows.iter().try_for_each(|row| write!(out, "{}", table.line(row)))?;
            }
        }
        if cfg!(not(feature = "wgpu")) {
            talk.note("built without GPUs: build with --features wgpu");
        } else if lines.len() == 1 {
            talk.note("no GPU, and no driver in software: `wgpu` wants a driver for Vulkan, Metal or Direct3D 12");
        }
        let auto = Device::parse("auto", 0, DType::F32)?;
        auto.note().iter().for_each(|note| talk.note(note));
        talk.note(format_args!("auto is {}", auto.describe()));
        Ok(())
    }
}

fn lines() -> Vec<Line> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = Line { device: "cpu".to_owned(), name: format!("{threads} threads"), kind: "CPU", driver: String::new() };
    #[cfg(feature = "cuda")]
    let cuda = escnet::device::cuda::adapters().into_iter().map(|a| Line {
        device: format!("cuda:{}", a.index),
        name: a.name,
        kind: if a.is_simulated { "software" } else { "GPU" },
        driver: format!("CUDA, sm_{}", a.arch),
    });
    #[cfg(not(feature = "cuda"))]
    let cuda = std::iter::empty();
    #[cfg(feature = "wgpu")]
    let gpus = escnet::device::wgpu::adapters().into_iter().map(|a| Line {
        device: format!("wgpu:{}", a.index),
        name: a.name,
        kind: a.kind.name(),
        driver: format!("{} {}", a.backend, a.driver).trim().to_owned(),
    });
    #[cfg(not(feature = "wgpu"))]
    let gpus = std::iter::empty();
    std::iter::once(cpu).chain(cuda).chain(gpus).collect()
}
