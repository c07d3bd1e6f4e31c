//! `escnet peaks`: the roofs of a device.

use super::Done;
use super::inspect::Format;
use super::model::Where;
use super::table::short;
use super::talk::Talk;
use clap::Args;
use escnet::DType;
use escnet::bench::peaks::Peaks;
use escnet::bench::sampling::Patience;
use std::io::Write;
use std::time::Duration;

/// Measures how fast a device moves bytes, multiplies and adds: the roofs that `escnet bench` holds operators against.
///
/// Bytes are those of a copy of 256 MB, read and written. FLOPs are those of multiply-adds in single
/// precision; where there are tensor cores also those of products in 16 bits on these: bf16 on CUDA,
/// f16 by cooperative matrices on wgpu.
#[derive(Debug, Args)]
pub struct Measure {
    #[command(flatten)]
    device: Where,
    /// Seconds for each of them
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    time: f64,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
}

impl Measure {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        let device = self.device.open(DType::F32, talk)?;
        super::bench::tell_of_build(talk);
        let most = super::bench::seconds(self.time)?;
        let patience = Patience { least: most.min(Duration::from_secs(1)), most, ..Patience::default() };
        let peaks = Peaks::measure(&device, &patience)?;
        let text = match self.format {
            Format::Json => serde_json::json!(peaks).to_string() + "\n",
            Format::Table => told(&peaks),
        };
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

/// For people.
pub fn told(peaks: &Peaks) -> String {
    let (bytes, flops) = (short(peaks.bytes_per_second as u64), short(peaks.flops_per_second as u64));
    let balance = peaks.flops_per_second / peaks.bytes_per_second;
    let products = peaks.products_per_second.map_or(String::new(), |rate| format!(" ({}FLOP/s in 16 bits on tensor cores)", short(rate as u64)));
    format!("{}: {bytes}B/s copied, {flops}FLOP/s in f32{products}, {balance:.1} FLOP a byte; spread {:.0}%\n", peaks.device, 100.0 * peaks.spread)
}
