//! How rows are written: for people, for programs, and into files.

use super::super::stop::Stop;
use super::super::table::{Table, short};
use super::Output;
use escnet::Error;
use escnet::bench::compare::{Comparison, Pair};
use escnet::bench::peaks::{Bound, Peaks};
use escnet::bench::peers::Peers;
use escnet::bench::record::{self, Row};
use escnet::bench::shapes::Subject;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

/// Adds rows to a CSV file; a new one gets a header, which an older one must have.
pub fn append(path: &Path, rows: &[Row]) -> Result<(), Stop> {
    let io = |e| Stop::Library(Error::io(path, e));
    let whole = record::to_csv(rows, true)?;
    let first = File::open(path).ok().and_then(|file| BufReader::new(file).lines().next()?.ok());
    if first.is_some_and(|first| Some(first.as_str()) != whole.lines().next()) {
        return Err(Stop::Input(format!("{}: its columns are not those of these rows; append to a new file", path.display())));
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    let is_new = file.metadata().map_err(io)?.len() == 0;
    file.write_all(record::to_csv(rows, is_new)?.as_bytes()).and_then(|()| file.sync_all()).map_err(io)
}

pub fn list(subjects: &[Subject]) -> String {
    let row = |s: &Subject| {
        let [flops, bytes] = [s.cost.flops, s.cost.bytes].map(short);
        vec![s.op.label(), s.shape(), s.part.to_owned(), s.uses.to_string(), flops, bytes, s.short_attributes()]
    };
    let rows: Vec<Vec<String>> = subjects.iter().map(row).collect();
    Table::written(
        &[("operator", false), ("shape", false), ("part", false), ("uses", true), ("FLOP", true), ("bytes", true), ("attributes", false)],
        &rows,
    )
}

const TITLES: [(&str, bool); 10] = [
    ("operator", false),
    ("shape", false),
    ("uses", true),
    ("time", true),
    ("p5 to p95", true),
    ("GFLOP/s", true),
    ("GB/s", true),
    ("roof", true),
    ("error", true),
    ("ratio", true),
];

/// What people read of rows. The ratio is that to the row that it was set beside, with whose that is.
fn cells(rows: &[Row], compared: Option<&Comparison>) -> Vec<Vec<String>> {
    let ratio = |row: &Row| {
        let is_same =
            |pair: &&Pair| (&pair.label, &pair.shape, &pair.attributes, &pair.dtype) == (&row.label(), &row.shape, &row.attributes, &row.dtype);
        compared.and_then(|c| c.pairs.iter().find(is_same)).map_or(String::new(), |pair| format!("{:.3} {}", pair.ratio, pair.peer))
    };
    let cell = |row: &Row| {
        let mark = if row.quiet { "" } else { "~" };
        let bound = row.bound.map_or("", |bound| if bound == Bound::Memory { "m" } else { "a" });
        vec![
            row.label(),
            row.shape.clone(),
            row.uses.to_string(),
            format!("{mark}{}", time(row.us)),
            format!("{}..{}", time(row.p5), time(row.p95)),
            format!("{:.1}", row.gflops),
            format!("{:.2}", row.gbps),
            row.roof.map_or(String::new(), |roof| format!("{:.0}% {bound}", 100.0 * roof)),
            row.error.map_or("unchecked".to_owned(), |error| format!("{error:.0e}")),
            ratio(row),
        ]
    };
    rows.iter().map(cell).collect()
}

/// A time in microseconds, for people.
pub fn time(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{:.3} s", us / 1e6),
        us if us >= 1e3 => format!("{:.3} ms", us / 1e3),
        us => format!("{us:.2} us"),
    }
}

pub fn written(output: Output, rows: &[Row], peaks: Option<&Peaks>, peers: &Peers, compared: Option<&Comparison>) -> Result<String, Stop> {
    Ok(match output {
        Output::Csv => record::to_csv(rows, true)?,
        Output::Json => {
            let measured: BTreeMap<&str, &[Row]> = peers.measured().into_iter().collect();
            serde_json::json!({ "peaks": peaks, "rows": rows, "compared": compared, "libraries": measured }).to_string() + "\n"
        }
        Output::Table => Table::written(&TITLES, &cells(rows, compared)),
        Output::Md => markdown(&TITLES, &cells(rows, compared)),
    })
}

pub fn markdown(titles: &[(&str, bool)], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule = |&(_, right): &(&str, bool)| if right { "---:" } else { "---" }.to_owned();
    let head = line(titles.iter().map(|(title, _)| (*title).to_owned()).collect()) + &line(titles.iter().map(rule).collect());
    head + &rows.iter().map(|row| line(row.clone())).collect::<String>()
}
