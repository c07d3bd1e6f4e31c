//! Rows beside those of peers.

use super::super::stop::Stop;
use escnet::Error;
use escnet::bench::compare::{Comparison, Pair};
use escnet::bench::record::{Row, to_csv};

/// What a row was set beside.
pub fn pair<'a>(row: &Row, compared: Option<&'a Comparison>) -> Option<&'a Pair> {
    let is_same = |pair: &&Pair| (&pair.label, &pair.shape, &pair.attributes, &pair.dtype) == (&row.label(), &row.shape, &row.attributes, &row.dtype);
    compared?.pairs.iter().find(is_same)
}

/// Rows as CSV and, behind each, the fastest of its peers, the microseconds of that, and the ratio of ours to it; nothing where no peer has the row.
pub fn to_csv_beside(rows: &[Row], compared: &Comparison) -> Result<String, Stop> {
    let failed = |e: csv::Error| Stop::Library(Error::io("rows", e.into()));
    let text = to_csv(rows, true)?;
    let mut own = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let told = |row: &Row| match pair(row, Some(compared)) {
        Some(pair) => [pair.peer.clone(), pair.before.to_string(), pair.ratio.to_string()],
        None => Default::default(),
    };
    let more = std::iter::once(["peer", "peer_us", "ratio"].map(str::to_owned)).chain(rows.iter().map(told));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for (record, more) in own.records().zip(more) {
        let record = record.map_err(failed)?;
        writer.write_record(record.iter().chain(more.iter().map(String::as_str))).map_err(failed)?;
    }
    Ok(String::from_utf8_lossy(&writer.into_inner().unwrap_or_default()).into_owned())
}
