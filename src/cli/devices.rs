//! `escnet devices`: what `--device` takes on this machine.

use super::Done;
use super::inspect::Format;
use super::table::{Table, short};
use super::talk::Talk;
use clap::Args;
use escnet::device::cpu::{Vectors, model};
use escnet::{DType, Device};
use serde::Serialize;
use std::collections::BTreeMap;
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
    /// How much it has, by what that is.
    limits: BTreeMap<&'static str, u64>,
}

impl Line {
    /// The titles of [`Line::cells`].
    pub const TITLES: [&str; 5] = ["device", "name", "kind", "driver", "can"];

    /// For people.
    pub fn cells(&self) -> Vec<String> {
        vec![self.device.clone(), self.name.clone(), self.kind.to_owned(), self.driver.clone(), self.can.clone()]
    }

    /// How much it has, for people; nothing for a CPU.
    pub fn limits(&self) -> Option<String> {
        let told = |(what, n): (&&str, &u64)| match what.strip_prefix("bytes ") {
            Some(of) => format!("{}B {of}", short(*n)),
            None => format!("{n} {what}"),
        };
        (!self.limits.is_empty()).then(|| format!("{}: {}", self.device, self.limits.iter().map(told).collect::<Vec<_>>().join(", ")))
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
        lacking(cfg!(feature = "wgpu"), cfg!(feature = "cuda"), lines.len() == 1).iter().for_each(|note| talk.note(note));
        let auto = Device::parse("auto", 0, DType::F32)?;
        auto.note().iter().for_each(|note| talk.note(note));
        // Of several GPUs the name tells which it is; a CPU's stands above.
        talk.note(format_args!("auto is {}", if auto.name() == "cpu" { "cpu".to_owned() } else { auto.describe() }));
        Ok(())
    }
}

/// What to say where no GPU can be used, by what the program was built with; nothing where one is there.
fn lacking(wgpu: bool, cuda: bool, is_cpu_alone: bool) -> Option<String> {
    if !wgpu && !cuda {
        return Some("built without GPUs: build with --features wgpu, or cuda, or both".to_owned());
    }
    let wants = [(wgpu, "`wgpu` wants a driver for Vulkan, Metal or Direct3D 12"), (cuda, "`cuda` wants NVIDIA's driver of version 525 or later")];
    let wants: Vec<&str> = wants.into_iter().filter_map(|(is_built, wants)| is_built.then_some(wants)).collect();
    is_cpu_alone.then(|| format!("no GPU, and no driver in software: {}", wants.join(", ")))
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
        limits: BTreeMap::new(),
    };
    #[cfg(feature = "cuda")]
    let cuda = escnet::device::cuda::adapters().into_iter().map(|a| Line {
        device: format!("cuda:{}", a.index),
        name: a.name,
        kind: if a.is_simulated { "software" } else { "GPU" },
        driver: format!("CUDA {}", a.driver),
        can: format!("compute capability {}.{}, {}", a.arch / 10, a.arch % 10, if a.arch == 90 { "mma, wgmma" } else { "mma" }),
        limits: [
            ("multiprocessors", a.limits.processors),
            ("bytes of memory", a.limits.memory),
            ("bytes of shared memory a block", a.limits.shared),
            ("bytes of L2", a.limits.l2),
        ]
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .collect(),
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
        limits: offered(a.limits),
    });
    #[cfg(not(feature = "wgpu"))]
    let gpus = std::iter::empty();
    std::iter::once(cpu).chain(cuda).chain(gpus).collect()
}

#[cfg(feature = "wgpu")]
fn abilities(can: escnet::device::wgpu::Abilities) -> String {
    let has = [(can.half, "f16"), (can.subgroups, "subgroups"), (can.fragments.is_some(), "cooperative matrices")];
    let binding = format!("bindings of {}B", short(can.binding));
    has.into_iter().filter(|(has, _)| *has).map(|(_, what)| what.to_owned()).chain([binding]).collect::<Vec<_>>().join(", ")
}

#[cfg(feature = "wgpu")]
fn offered(limits: escnet::device::wgpu::Limits) -> BTreeMap<&'static str, u64> {
    let subgroup = limits.subgroup.map(|[least, most]| [("invocations a subgroup at least", least), ("invocations a subgroup at most", most)]);
    let all = [
        ("bytes a buffer", limits.buffer),
        ("bytes a binding", limits.binding),
        ("bytes of workgroup memory", limits.workgroup),
        ("invocations a workgroup", limits.invocations),
        ("storage buffers a kernel", limits.buffers),
    ];
    all.into_iter().chain(subgroup.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_what_was_built() {
        let told = |wgpu, cuda| lacking(wgpu, cuda, true).unwrap_or_default();
        assert!(told(false, false).starts_with("built without GPUs"));
        assert!(!told(false, true).contains("built without") && told(false, true).contains("NVIDIA") && !told(false, true).contains("Vulkan"));
        assert!(told(true, false).contains("Vulkan") && !told(true, false).contains("NVIDIA"));
        assert!(told(true, true).contains("Vulkan") && told(true, true).contains("NVIDIA"));
        assert_eq!(lacking(false, true, false), None);
    }
}
