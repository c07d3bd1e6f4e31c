//! `escnet devices`: what `--device` takes on this machine.

use super::Done;
use super::inspect::Format;
use super::table::Table;
use super::talk::Talk;
use clap::Args;
use escnet::device::cpu::{Vectors, model};
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

/// A device that is there.
#[derive(Debug, Serialize)]
pub struct Line {
    /// What `--device` calls it.
    pub device: String,
    name: String,
    /// What it is: a CPU, a GPU, a driver in software.
    pub kind: &'static str,
    driver: String,
    can: String,
}

impl Line {
    /// The titles of [`Line::cells`].
    pub const TITLES: [&str; 5] = ["device", "name", "kind", "driver", "can"];

    /// For people.
    pub fn cells(&self) -> Vec<String> {
        vec![self.device.clone(), self.name.clone(), self.kind.to_owned(), self.driver.clone(), self.can.clone()]
    }
}

impl Devices {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        let lines = lines();
        let mut out = std::io::stdout();
        match self.format {
            Format::Json => writeln!(out, "{}", serde_json::json!({ "devices": lines }))?,
            Format::Table => {
                let rows: Vec<Vec<String>> = lines.iter().map(Line::cells).collect();
                write!(out, "{}", Table::written(&Line::TITLES.map(|title| (title, false)), &rows))?;
            }
        }
        if cfg!(not(feature = "wgpu")) {
            talk.note("built without GPUs: build with --features wgpu");
        } else if lines.len() == 1 {
            talk.note("no GPU, and no driver in software: `wgpu` wants a driver for Vulkan, Metal or Direct3D 12");
        }
        let auto = Device::parse("auto", 0, DType::F32)?;
        auto.note().iter().for_each(|note| talk.note(note));
        // Of several GPUs the name tells which it is; a CPU's stands above.
        talk.note(format_args!("auto is {}", if auto.name() == "cpu" { "cpu".to_owned() } else { auto.describe() }));
        Ok(())
    }
}

/// The devices of this machine.
pub fn lines() -> Vec<Line> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = Line {
        device: "cpu".to_owned(),
        name: model().into_iter().chain([format!("{threads} threads")]).collect::<Vec<_>>().join(", "),
        kind: "CPU",
        driver: String::new(),
        can: Vectors::widest().name().to_owned(),
    };
    #[cfg(feature = "cuda")]
    let cuda = escnet::device::cuda::adapters().into_iter().map(|a| Line {
        device: format!("cuda:{}", a.index),
        name: a.name,
        kind: if a.is_simulated { "software" } else { "GPU" },
        driver: format!("CUDA, sm_{}", a.arch),
        can: match a.arch {
            90 => "mma, wgmma",
            80.. => "mma",
            _ => "",
        }
        .to_owned(),
    });
    #[cfg(not(feature = "cuda"))]
    let cuda = std::iter::empty();
    #[cfg(feature = "wgpu")]
    let gpus = escnet::device::wgpu::adapters().into_iter().map(|a| Line {
        device: format!("wgpu:{}", a.index),
        name: a.name,
        kind: a.kind.name(),
        driver: format!("{} {}", a.backend, a.driver).trim().to_owned(),
        can: abilities(a.abilities),
    });
    #[cfg(not(feature = "wgpu"))]
    let gpus = std::iter::empty();
    std::iter::once(cpu).chain(cuda).chain(gpus).collect()
}

#[cfg(feature = "wgpu")]
fn abilities(can: escnet::device::wgpu::Abilities) -> String {
    let has = [(can.half, "f16"), (can.subgroups, "subgroups"), (can.fragments.is_some(), "cooperative matrices")];
    let binding = format!("bindings of {}B", super::table::short(can.binding));
    has.into_iter().filter(|(has, _)| *has).map(|(_, what)| what.to_owned()).chain([binding]).collect::<Vec<_>>().join(", ")
}
