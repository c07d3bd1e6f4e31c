//! How fast a device's clocks run while something is measured: without them a time cannot be compared with another's.

use crate::device::Device;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// Watches the clocks of a device. NVIDIA's are read by `nvidia-smi`, which comes with the driver and runs beside what is measured, the CPU's from the kernel; of
/// others nothing is known.
#[derive(Debug)]
pub struct Clocks(Source);

#[derive(Debug)]
enum Source {
    Unknown,
    Cpu,
    Program { child: Child, readings: Arc<Mutex<Vec<String>>> },
}

impl Clocks {
    /// From now on.
    pub fn watch(device: &Device) -> Self {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = device.cuda_gpu() {
            // Milliseconds between two readings.
            const BETWEEN: u32 = 100;
            let mut program = Command::new("nvidia-smi");
            program.arg(format!("--id={}", gpu.bus())).args(["--query-gpu=clocks.sm,clocks.mem", "--format=csv,noheader,nounits"]);
            program.arg(format!("--loop-ms={BETWEEN}"));
            return Clocks(if gpu.is_simulated() { Source::Unknown } else { lines_of(program) });
        }
        Clocks(if device.name() == "cpu" { Source::Cpu } else { Source::Unknown })
    }

    /// The median of what was read since this was last asked, in MHz: a CPU's, or `sm / memory` of a GPU. Empty where nothing is known.
    pub fn told(&self) -> String {
        match &self.0 {
            Source::Unknown => String::new(),
            Source::Cpu => cores(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            Source::Program { readings, .. } => median(&std::mem::take(&mut *readings.lock().unwrap_or_else(PoisonError::into_inner))),
        }
    }
}

impl Drop for Clocks {
    fn drop(&mut self) {
        if let Source::Program { child, .. } = &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a program prints, line by line, as it comes.
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
fn lines_of(mut program: Command) -> Source {
    let Ok(mut child) = program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else { return Source::Unknown };
    let readings = Arc::<Mutex<Vec<String>>>::default();
    if let Some(out) = child.stdout.take() {
        let readings = readings.clone();
        // Ends with the program.
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(std::io::Result::ok);
            lines.for_each(|line| readings.lock().unwrap_or_else(PoisonError::into_inner).push(line));
        });
    }
    Source::Program { child, readings }
}

/// The median of each column of lines such as `1980, 2619`; empty where a line is none.
fn median(lines: &[String]) -> String {
    let numbers = |line: &String| -> Option<[u32; 2]> {
        let (sm, memory) = line.split_once(',')?;
        Some([sm.trim().parse().ok()?, memory.trim().parse().ok()?])
    };
    let Some(read) = lines.iter().map(numbers).collect::<Option<Vec<_>>>().filter(|read| !read.is_empty()) else { return String::new() };
    let column = |i: usize| {
        let mut column: Vec<u32> = read.iter().map(|pair| pair[i]).collect();
        column.sort_unstable();
        column[column.len() / 2]
    };
    format!("{} / {}", column(0), column(1))
}

/// The median of the cores' clocks, in whole MHz.
fn cores(cpuinfo: &str) -> String {
    let mut clocks: Vec<f64> =
        cpuinfo.lines().filter(|line| line.starts_with("cpu MHz")).filter_map(|line| line.split(':').nth(1)?.trim().parse().ok()).collect();
    clocks.sort_by(f64::total_cmp);
    clocks.get(clocks.len() / 2).map_or(String::new(), |clock| format!("{clock:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_told_by_their_median() {
        let lines = |text: &[&str]| -> Vec<String> { text.iter().map(|&line| line.to_owned()).collect() };
        assert_eq!(median(&lines(&["1980, 2619", "345, 2619", "1965, 2619"])), "1965 / 2619");
        assert_eq!([median(&[]), median(&lines(&["[N/A], [N/A]"])), median(&lines(&["no devices"]))], ["", "", ""]);
        assert_eq!(cores("cpu MHz\t\t: 2599.998\nflags : fpu\ncpu MHz\t: 3100.2\ncpu MHz : 1200"), "2600");
        assert_eq!(cores(""), "");
    }

    #[cfg(unix)]
    #[test]
    fn a_program_is_read_while_it_runs_and_ended_at_last() {
        let mut program = Command::new("sh");
        program.args(["-c", "echo 10, 20; echo 30, 40; echo 20, 30; exec sleep 1000"]);
        let clocks = Clocks(lines_of(program));
        let mut told = Vec::new();
        while told.len() < 3 {
            let Source::Program { readings, .. } = &clocks.0 else { panic!("it runs") };
            told.append(&mut readings.lock().unwrap());
            std::thread::yield_now();
        }
        assert_eq!((median(&told), clocks.told()), ("20 / 30".to_owned(), String::new()));
        drop(clocks);
        assert!(matches!(lines_of(Command::new("no-such-program")), Source::Unknown));
    }
}
