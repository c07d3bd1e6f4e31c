//! How rows are written: for people, for programs, and into files.

use super::super::stop::Stop;
use super::super::table::{Table, short};
use super::super::talk::Talk;
use super::Output;
use super::beside::{pair, to_csv_beside};
use escnet::Error;
use escnet::bench::compare::Comparison;
use escnet::bench::peaks::{Bound, Peaks};
use escnet::bench::peers::Peers;
use escnet::bench::record::{self, Row};
use escnet::bench::shapes::Subject;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

/// Adds rows to a CSV file; a new one gets a header. An older one, of before rows had all of today's columns, keeps its own.
pub fn append(path: &Path, rows: &[Row], talk: &Talk) -> Result<(), Stop> {
    let io = |e| Stop::Library(Error::io(path, e));
    let lines = match File::open(path).ok().and_then(|file| BufReader::new(file).lines().next()?.ok()) {
        None => record::to_csv(rows, true)?,
        Some(columns) => {
            let Some((lines, left_out)) = record::to_csv_in(&columns, rows)? else {
                return Err(Stop::Input(format!("{}: its columns are not those of these rows; append to a new file", path.display())));
            };
            if !left_out.is_empty() {
                talk.note(format_args!("{} has no columns {}, which are left out there: a new file has all", path.display(), left_out.join(", ")));
            }
            lines
        }
    };
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    file.write_all(lines.as_bytes()).and_then(|()| file.sync_all()).map_err(io)
}

/// What rows have in common: device, driver, type, commit, and the clocks meanwhile.
pub fn of_all(rows: &[Row]) -> String {
    let of = |told: fn(&Row) -> &str| {
        let values: BTreeSet<&str> = rows.iter().map(told).filter(|value| !value.is_empty()).collect();
        let mut values: Vec<&str> = values.into_iter().collect();
        // By length first: clocks of fewer digits are less.
        values.sort_by_key(|value| value.len());
        [values.first(), values.last().filter(|_| values.len() > 1)].into_iter().flatten().copied().collect::<Vec<_>>().join(" to ")
    };
    let or = |told: String, what: &str| if told.is_empty() { format!("{what} not known") } else { told };
    let commit = match of(|row| &row.commit) {
        none if none.is_empty() => none,
        commit => format!("commit {commit}"),
    };
    let clocks = match of(|row| &row.clocks) {
        none if none.is_empty() => none,
        clocks => format!("{clocks} MHz"),
    };
    let told = [of(|row| &row.device), of(|row| &row.driver), of(|row| &row.dtype), or(commit, "commit"), or(clocks, "clocks")];
    told.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
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

const TITLES: [(&str, bool); 11] = [
    ("operator", false),
    ("shape", false),
    ("variant", false),
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
    let ratio = |row: &Row| pair(row, compared).map_or(String::new(), |pair| format!("{:.3} {}", pair.ratio, pair.peer));
    let error = |row: &Row| match (row.error, row.checked.as_str()) {
        (None, _) => "unchecked".to_owned(),
        (Some(error), "" | "f64") => format!("{error:.0e}"),
        (Some(error), by) => format!("{error:.0e} ({by})"),
    };
    let cell = |row: &Row| {
        let mark = if row.quiet { "" } else { "~" };
        let bound = row.bound.map_or("", |bound| if bound == Bound::Memory { "m" } else { "a" });
        vec![
            row.label(),
            row.shape.clone(),
            row.chosen().to_owned(),
            row.uses.to_string(),
            format!("{mark}{}", time(row.us)),
            format!("{}..{}", time(row.p5), time(row.p95)),
            format!("{:.1}", row.gflops),
            format!("{:.2}", row.gbps),
            row.roof.map_or(String::new(), |roof| format!("{:.0}% {bound}", 100.0 * roof)),
            error(row),
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
        Output::Csv => compared.map_or_else(|| Ok(record::to_csv(rows, true)?), |compared| to_csv_beside(rows, compared))?,
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
