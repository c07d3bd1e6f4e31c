//! `escnet doctor`: what this machine has, whether it computes right, and what to install.

use super::Done;
use super::devices::{Line, lines};
use super::inspect::Format;
use super::stop::Stop;
use super::table::Table;
use super::talk::Talk;
use clap::Args;
use escnet::bench::health::health;
use escnet::device::cpu::Vectors;
use escnet::{DType, Device, Error};
use serde::Serialize;
use std::io::Write;
use std::time::Instant;

/// Says what this machine has, launches real kernels on each of its devices and checks their numbers against f64, and says what to install.
///
/// Exit code 1 where a device that is there computes something wrong or fails.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Only this device, such as cpu or cuda:0 (see `escnet devices`)
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
}

/// What came of a device in one type.
#[derive(Debug, Serialize)]
struct Finding {
    device: String,
    dtype: &'static str,
    /// Operators that were right.
    operators: usize,
    /// The largest relative error against f64.
    error: Option<f64>,
    seconds: f64,
    /// What is wrong with it.
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    system: String,
    built_with: Vec<&'static str>,
    vectors: &'static str,
    compiler: String,
    devices: Vec<Line>,
    findings: Vec<Finding>,
    advice: Vec<String>,
}

impl Doctor {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        let devices = lines();
        let bar = talk.counting("checking", devices.len());
        let mut findings = Vec::new();
        match &self.device {
            Some(name) => findings.extend(examine(Device::parse(name, 0, DType::F32).map(|_| name)?)),
            None => devices.iter().for_each(|line| {
                findings.extend(examine(&line.device));
                bar.advance(1);
            }),
        }
        bar.finish();
        let compiler = compiler();
        let advice = advice(&devices, compiler.is_err());
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            built_with: [(cfg!(feature = "wgpu"), "wgpu"), (cfg!(feature = "cuda"), "cuda"), (cfg!(feature = "vendor"), "vendor")]
                .into_iter()
                .filter_map(|(is, name)| is.then_some(name))
                .collect(),
            vectors: Vectors::widest().name(),
            compiler: compiler.unwrap_or_else(|reason| reason),
            devices,
            findings,
            advice,
        };
        let text = match self.format {
            Format::Json => serde_json::json!(report).to_string() + "\n",
            Format::Table => report.told(),
        };
        std::io::stdout().write_all(text.as_bytes())?;
        report.advice.iter().for_each(|advice| talk.note(advice));
        match report.findings.iter().filter(|finding| finding.problem.is_some()).count() {
            0 => Ok(()),
            bad => Err(Stop::Check(format!("{bad} of {} checks failed", report.findings.len()))),
        }
    }
}

/// A device, in each type that it computes in.
fn examine(name: &str) -> Vec<Finding> {
    let in_type = |dtype: DType| {
        let begun = Instant::now();
        let found = Device::parse(name, 0, dtype).and_then(|device| health(&device, dtype));
        let finding = Finding {
            device: name.to_owned(),
            dtype: dtype.name(),
            operators: found.as_ref().map_or(0, |health| health.operators),
            error: found.as_ref().ok().map(|health| health.error),
            seconds: begun.elapsed().as_secs_f64(),
            problem: found.as_ref().err().map(Error::to_string),
        };
        // Not to compute in 16 bits is no fault.
        (finding, matches!(found, Err(Error::Device { .. })) && dtype != DType::F32)
    };
    [DType::F32, DType::F16, DType::BF16].map(in_type).into_iter().filter_map(|(finding, is_lacking)| (!is_lacking).then_some(finding)).collect()
}

/// NVRTC, which compiles kernels for GPUs that none of the images that come with the program serves.
#[cfg(feature = "cuda")]
fn compiler() -> Result<String, String> {
    let version = escnet::device::cuda::nvrtc::Nvrtc::get().map(|nvrtc| nvrtc.version());
    version.map(|(major, minor)| format!("NVRTC {major}.{minor}")).map_err(|_| "no NVRTC".to_owned())
}

#[cfg(not(feature = "cuda"))]
fn compiler() -> Result<String, String> {
    Ok("no NVRTC wanted".to_owned())
}

/// Why CUDA's driver, where there is one, or a device of it cannot be used.
#[cfg(feature = "cuda")]
fn unusable() -> Vec<String> {
    escnet::device::cuda::survey().1.iter().map(|reason| format!("CUDA cannot be used: {reason}")).collect()
}

#[cfg(not(feature = "cuda"))]
fn unusable() -> Vec<String> {
    Vec::new()
}

fn advice(devices: &[Line], lacks_compiler: bool) -> Vec<String> {
    let mut advice = unusable();
    let is_gpu = |line: &Line| line.device != "cpu" && line.kind != "software";
    if cfg!(not(all(feature = "wgpu", feature = "cuda"))) {
        advice.push("built without all devices: cargo build --release --features wgpu,cuda".to_owned());
    }
    if !devices.iter().any(is_gpu) {
        advice.push("no GPU: wgpu wants a driver for Vulkan, Metal or Direct3D 12, CUDA NVIDIA's driver of version 525 or later".to_owned());
        if cfg!(all(target_os = "linux", feature = "wgpu")) && !devices.iter().any(|line| line.device.starts_with("wgpu")) {
            advice.push(
                "to run the GPU's tests all the same, on the CPU: Mesa's lavapipe (apt install mesa-vulkan-drivers, or tools/software_gpu install)"
                    .to_owned(),
            );
        }
    } else if lacks_compiler && devices.iter().any(|line| line.device.starts_with("cuda")) {
        advice.push(
            "no NVRTC: not needed unless a GPU is none of those that kernels are compiled for; it is in CUDA's toolkit, version 12 or 13".to_owned(),
        );
    }
    advice
}

impl Report {
    fn told(&self) -> String {
        let built = if self.built_with.is_empty() { "the CPU alone".to_owned() } else { self.built_with.join(", ") };
        let mut text = format!("escnet {} on {}; built with {built}; {}\n\n", self.version, self.system, self.compiler);
        let rows: Vec<Vec<String>> = self.devices.iter().map(Line::cells).collect();
        text += &Table::written(&Line::TITLES.map(|title| (title, false)), &rows);
        text.push('\n');
        let limits: Vec<String> = self.devices.iter().filter_map(Line::limits).map(|limits| limits + "\n").collect();
        if !limits.is_empty() {
            text += &limits.concat();
            text.push('\n');
        }
        let row = |f: &Finding| {
            let result = f.problem.clone().unwrap_or_else(|| format!("{} operators are right", f.operators));
            vec![
                f.device.clone(),
                f.dtype.to_owned(),
                f.error.map_or(String::new(), |error| format!("{error:.0e}")),
                format!("{:.1} s", f.seconds),
                result,
            ]
        };
        let titles = [("device", false), ("type", false), ("error", true), ("time", true), ("kernels", false)];
        text + &Table::written(&titles, &self.findings.iter().map(row).collect::<Vec<_>>())
    }
}
