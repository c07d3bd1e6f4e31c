//! A row: everything that is known of one measurement, and the forms in which rows are written.

use super::clocks::Clocks;
use super::is_of;
use super::others::Others;
use super::peaks::{Bound, Peaks};
use super::sampling::Samples;
use super::yardstick::Yardstick;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::op::Cost;
use crate::tensor::DType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What rows of one run have in common.
#[derive(Debug)]
pub struct Host {
    /// The day, as 2026-11-28.
    pub date: String,
    /// The device's driver.
    pub driver: String,
    /// The commit of the program's sources; nothing where it is not known.
    pub commit: String,
    /// CPU threads.
    pub threads: usize,
    /// What is computed in.
    pub dtype: DType,
    /// The variant of kernels that was asked for; empty where operators chose.
    pub variant: &'static str,
    /// What else the machine does.
    pub others: Others,
    /// How fast the device's clocks run.
    pub clocks: Arc<Clocks>,
}

impl Host {
    /// Today's; what else the machine does and its clocks are watched from now on.
    pub fn new(device: &Device, commit: String, threads: usize, dtype: DType, variant: &'static str, clocks: &Arc<Clocks>) -> Self {
        // What was read before is another row's.
        clocks.told();
        Host { date: today(), driver: driver(device), commit, threads, dtype, variant, others: Others::watch(), clocks: clocks.clone() }
    }
}

/// `CUDA 13.0`; for wgpu Vulkan, Metal, .. with the driver's name and version; the CPU has none.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn driver(device: &Device) -> String {
    let of = if device.name() == "cuda" { "CUDA " } else { "" };
    device.choices().map_or(String::new(), |choices| format!("{of}{}", choices.driver))
}

#[cfg(not(any(feature = "cuda", feature = "wgpu")))]
fn driver(_: &Device) -> String {
    String::new()
}

/// What was measured, told as rows tell it.
#[derive(Debug)]
pub struct Measured {
    /// The device.
    pub device: String,
    /// The operator, or the graph.
    pub op: String,
    /// Which of its computations.
    pub pass: &'static str,
    /// The extents of its inputs.
    pub shape: String,
    /// Its attributes.
    pub attributes: String,
    /// The graph that it was met in first.
    pub part: &'static str,
    /// How often it runs there.
    pub uses: usize,
    /// The kernels that an execution launches.
    pub kernels: String,
    /// Where an execution finds its tensors.
    pub memory: &'static str,
    /// The work of an execution.
    pub cost: Cost,
    /// Made of products in 16 bits, which tensor cores have a roof of their own for.
    pub in_half: bool,
    /// Relative error; none where it was not checked.
    pub error: Option<f64>,
    /// Against what; none where it was not checked.
    pub checked: Option<Yardstick>,
}

/// One measurement. Times are microseconds, of one execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The day.
    pub date: String,
    /// The commit.
    pub commit: String,
    /// The device.
    pub device: String,
    /// CPU threads.
    pub threads: usize,
    /// What is computed in.
    pub dtype: String,
    /// The operator; of a whole graph its name.
    pub op: String,
    /// Which of its computations; `whole` for a graph.
    pub pass: String,
    /// The extents of its inputs.
    pub shape: String,
    /// Its attributes, as `name: value, ..`.
    pub attributes: String,
    /// The graph that it was met in first.
    pub part: String,
    /// How often it runs there.
    pub uses: usize,
    /// The variant of kernels that was asked for; empty where the operator chose.
    pub variant: String,
    /// The kernels that were launched, none on the CPU.
    pub kernels: String,
    /// `cold` or `hot`; `model` where a whole graph ran, which finds caches as it leaves them.
    pub memory: String,
    /// Samples.
    pub samples: usize,
    /// Whether they are as many, took as long and agree as well as was asked.
    pub quiet: bool,
    /// By the device's clock: median,
    pub us: f64,
    /// the twentieth part,
    pub p5: f64,
    /// and the last twentieth.
    pub p95: f64,
    /// By the host's clock, median.
    pub host_us: f64,
    /// 10^9 FLOPs a second.
    pub gflops: f64,
    /// 10^9 bytes a second.
    pub gbps: f64,
    /// The least time that the measured roofs allow, as a share of the time.
    pub roof: Option<f64>,
    /// What bounds it.
    pub bound: Option<Bound>,
    /// Relative error against what `checked` says; none where it was not checked.
    pub error: Option<f64>,
    /// Cores that other programs kept busy.
    pub others: f64,
    /// MHz of the device's clocks meanwhile: a CPU's, or `sm / memory`; empty where they are not known.
    #[serde(default)]
    pub clocks: String,
    /// The device's driver and its version; empty for a CPU, and in rows of before there was this column.
    #[serde(default)]
    pub driver: String,
    /// What results were compared with: `f64`; `f64 of 59/8192`, so many first rows of all; `cpu`, its code in the same type. Empty where with nothing, and in rows of
    /// before there was this column, which were compared with f64, whole graphs of more than 8 GFLOP with the CPU.
    #[serde(default)]
    pub checked: String,
}

impl Row {
    /// What samples say of it.
    pub fn new(of: Measured, samples: &Samples, peaks: Option<&Peaks>, host: &Host) -> Self {
        let times = samples.device();
        let floor = peaks.map(|peaks| peaks.floor(of.cost, of.in_half));
        let rate = |of: u64| of as f64 / times.median.max(f64::MIN_POSITIVE) / 1e9;
        Row {
            date: host.date.clone(),
            commit: host.commit.clone(),
            device: of.device,
            threads: host.threads,
            dtype: host.dtype.name().to_owned(),
            op: of.op,
            pass: of.pass.to_owned(),
            shape: of.shape,
            attributes: of.attributes,
            part: of.part.to_owned(),
            uses: of.uses,
            variant: host.variant.to_owned(),
            kernels: of.kernels,
            memory: of.memory.to_owned(),
            samples: samples.len(),
            quiet: samples.is_quiet(),
            us: times.median * 1e6,
            p5: times.p5 * 1e6,
            p95: times.p95 * 1e6,
            host_us: samples.host().median * 1e6,
            gflops: rate(of.cost.flops),
            gbps: rate(of.cost.bytes),
            roof: floor.map(|(floor, _)| floor / times.median.max(f64::MIN_POSITIVE)),
            bound: floor.map(|(_, bound)| bound),
            error: of.error,
            others: host.others.cores(),
            clocks: host.clocks.told(),
            driver: host.driver.clone(),
            checked: of.checked.map_or(String::new(), |by| by.to_string()),
        }
    }

    /// Rows of one key measure the same.
    pub fn key(&self) -> [&str; 7] {
        [&self.op, &self.pass, &self.shape, &self.attributes, &self.dtype, &self.variant, &self.memory]
    }

    /// The variant whose kernels were launched, asked for or chosen; empty where the operator has none on that device.
    pub fn chosen(&self) -> &str {
        let of = |row: &'static crate::ops::Row| match self.device.split(' ').next() {
            Some("cuda") => row.variants,
            Some("wgpu") => row.wgpu_variants,
            _ => &[],
        };
        let names = crate::ops::row(&self.op).map_or(&[][..], of);
        let kernels: Vec<String> = self.kernels.split(' ').map(str::to_owned).collect();
        // The last is none but by name: `exact` may be any.
        names.iter().rev().find(|name| is_of(name, &kernels)).copied().unwrap_or_default()
    }

    /// `op` for a forward pass, `op.pass` for the rest; behind it the variant that was asked for.
    pub fn label(&self) -> String {
        let pass = if self.pass == "forward" { String::new() } else { format!(".{}", self.pass) };
        let variant = if self.variant.is_empty() { String::new() } else { format!(" {}", self.variant) };
        format!("{}{pass}{variant}", self.op)
    }
}

/// What rows ran on, each device once.
pub fn devices(rows: &[Row]) -> String {
    let names: BTreeSet<&str> = rows.iter().map(|row| row.device.as_str()).collect();
    names.into_iter().collect::<Vec<_>>().join(" and ")
}

/// Rows as CSV, with its header where asked.
///
/// # Errors
/// [`Error::Io`] where a number cannot be written.
pub fn to_csv(rows: &[Row], header: bool) -> Result<String> {
    let failed = |e: csv::Error| Error::io("rows", e.into());
    let mut writer = csv::WriterBuilder::new().has_headers(header).from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row)).map_err(failed)?;
    let bytes = writer.into_inner().map_err(|e| Error::io("rows", e.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Rows as CSV without its header, in the columns of a file that was begun before rows had all of theirs, and the names of those that are left out; none where the columns
/// are not those of rows.
///
/// # Errors
/// [`Error::Io`] where a number cannot be written.
pub fn to_csv_in(columns: &str, rows: &[Row]) -> Result<Option<(String, Vec<String>)>> {
    let failed = |e: csv::Error| Error::io("rows", e.into());
    let whole = to_csv(rows, true)?;
    let mut own = csv::Reader::from_reader(whole.as_bytes());
    let names = own.headers().map_err(failed)?.clone();
    let theirs: Vec<&str> = columns.split(',').collect();
    let places: Option<Vec<usize>> = theirs.iter().map(|name| names.iter().position(|own| own == *name)).collect();
    let Some(places) = places else { return Ok(None) };
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in own.records() {
        let record = record.map_err(failed)?;
        writer.write_record(places.iter().map(|&i| &record[i])).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|e| Error::io("rows", e.into_error()))?;
    let lines = String::from_utf8_lossy(&bytes).into_owned();
    // What cannot be read again lacks more than was added since.
    let again = format!("{columns}\n{lines}");
    let is_read = csv::Reader::from_reader(again.as_bytes()).deserialize::<Row>().all(|row| row.is_ok());
    let left_out = names.iter().filter(|name| !theirs.contains(name)).map(str::to_owned).collect();
    Ok(is_read.then_some((lines, left_out)))
}

/// Rows from a file: CSV by its name, else JSON, a list or one an object with `rows`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Config`] where it holds something else.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let wrong = |got: String| Error::Config { path: path.to_owned(), field: "rows".to_owned(), expected: "rows of `escnet bench`".to_owned(), got };
    if path.extension().is_some_and(|e| e == "csv") {
        return csv::Reader::from_reader(text.as_bytes()).deserialize().collect::<std::result::Result<_, _>>().map_err(|e| wrong(e.to_string()));
    }
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let list = value.get("rows").cloned().unwrap_or(value);
    serde_json::from_value(list).map_err(|e| wrong(e.to_string()))
}

/// The day, as 2026-11-28: Hinnant's days of the civil calendar.
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    day(seconds / 86_400)
}

fn day(since_1970: u64) -> String {
    let z = since_1970 + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    format!("{}-{month:02}-{:02}", year + era * 400 + u64::from(month <= 2), of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn row(op: &str, us: f64) -> Row {
        Row {
            date: "2026-11-28".to_owned(),
            commit: "abc".to_owned(),
            device: "cpu (2 threads)".to_owned(),
            threads: 2,
            dtype: "f32".to_owned(),
            op: op.to_owned(),
            pass: "forward".to_owned(),
            shape: "8x8, 2".to_owned(),
            attributes: "bias: true".to_owned(),
            part: "classify".to_owned(),
            uses: 1,
            variant: String::new(),
            kernels: String::new(),
            memory: "cold".to_owned(),
            samples: 25,
            quiet: true,
            us,
            p5: us * 0.9,
            p95: us * 1.1,
            host_us: us,
            gflops: 1.5,
            gbps: 0.25,
            roof: None,
            bound: Some(Bound::Memory),
            error: Some(1e-7),
            others: 0.0,
            clocks: "1980 / 2619".to_owned(),
            driver: "CUDA 13.0".to_owned(),
            checked: "f64".to_owned(),
        }
    }

    #[test]
    fn rows_come_back_from_each_form() -> Result<()> {
        let wrong = |expected: &str| Error::graph("rows", expected, "others");
        let rows = vec![row("linear", 3.0), Row { error: None, roof: Some(0.5), bound: None, ..row("add", 4.5) }];
        let folder = std::env::temp_dir().join(format!("escnet-rows-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let json = serde_json::json!({ "rows": rows }).to_string();
        for (name, text) in [("rows.csv", to_csv(&rows, true)?), ("rows.json", json)] {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|e| Error::io(&path, e))?;
            assert_eq!(read(&path)?, rows, "{name}");
        }
        // As files were before rows had clocks, or what follows these; more rows go into them in their own columns.
        for (header, values) in [(",clocks,driver,checked", ",1980 / 2619,CUDA 13.0,f64"), (",driver,checked", ",CUDA 13.0,f64")] {
            let older = folder.join("older.csv");
            let text = to_csv(&rows, true)?.replace(header, "").replace(values, "");
            let columns = text.lines().next().unwrap_or_default();
            let (more, left_out) = to_csv_in(columns, &rows)?.ok_or_else(|| wrong("these columns"))?;
            assert_eq!((format!("{columns}\n{more}"), format!(",{}", left_out.join(","))), (text.clone(), header.to_owned()));
            std::fs::write(&older, text.clone() + &more).map_err(|e| Error::io(&older, e))?;
            let read = read(&older)?;
            assert_eq!(read.len(), 2 * rows.len());
            assert!(read.iter().all(|row| row.driver.is_empty() && row.checked.is_empty() && row.samples == 25));
            assert!(to_csv_in(&columns.replace(",us", ""), &rows)?.is_none() && to_csv_in("a,b", &rows)?.is_none());
        }
        let other = folder.join("other.csv");
        std::fs::write(&other, "a,b\n1,2\n").map_err(|e| Error::io(&other, e))?;
        assert!(matches!(read(&other), Err(Error::Config { .. })));
        std::fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, e))
    }

    #[test]
    fn a_row_tells_which_variant_was_chosen() {
        let of = |device: &str, op: &str, kernels: &str| {
            Row { device: device.to_owned(), kernels: kernels.to_owned(), ..row(op, 1.0) }.chosen().to_owned()
        };
        assert_eq!(of("cuda (H200)", "linear", "linear_forward_mma64_bf16"), "mma64");
        assert_eq!(of("cuda (H200)", "linear", "linear_forward_bf16"), "exact");
        assert_eq!(of("wgpu (llvmpipe)", "linear", "linear_product_tiles64x64_f32"), "tiles64x64");
        assert_eq!(
            [
                of("wgpu (llvmpipe)", "softmax", "softmax_rows_f32"),
                of("cpu (2 threads)", "linear", ""),
                of("cuda (H200)", "caption-step", "9 launches")
            ],
            [""; 3]
        );
    }

    #[test]
    fn days_are_counted_as_in_the_calendar() {
        assert_eq!([day(0), day(11_016), day(20_785), day(20_454)], ["1970-01-01", "2000-02-29", "2026-11-28", "2026-01-01"]);
    }
}
