//! `bench compare`: two measurements side by side.

use super::super::Done;
use super::super::stop::Stop;
use super::super::table::Table;
use super::super::talk::Talk;
use super::written::{markdown, time};
use super::{Compare, Output};
use escnet::Error;
use escnet::bench::compare::{Comparison, Pair, compare};
use escnet::bench::record;
use std::io::Write;

impl Compare {
    pub(super) fn run(self, talk: &Talk) -> Done {
        let (before, after) = (record::read(&self.before)?, record::read(&self.after)?);
        let compared = compare(&before, &after);
        if compared.pairs.is_empty() {
            let (before, after) = (self.before.display(), self.after.display());
            return Err(Stop::Input(format!("{before} and {after} have no row in common: the same operator, shape, type and memory")));
        }
        std::io::stdout().write_all(set_side_by_side(self.output, &compared)?.as_bytes())?;
        // Rows are joined whatever they ran on, which may be what is to be compared. Older rows know of a CPU no more than its threads.
        let [then, now] = [&before, &after].map(|rows| record::devices(rows));
        if then != now {
            talk.note(format_args!("before on {then}, after on {now}"));
        }
        let threshold = self.threshold / 100.0;
        let slower = compared.pairs.iter().filter(|pair| pair.is_regression(threshold)).count();
        talk.note(format_args!(
            "{} rows in common, {} and {} alone; geometric mean of the ratios {:.3}",
            compared.pairs.len(),
            compared.alone[0],
            compared.alone[1],
            compared.mean
        ));
        if slower > 0 { Err(Stop::Check(format!("{slower} became slower by more than {}%", self.threshold))) } else { Ok(()) }
    }
}

fn set_side_by_side(output: Output, compared: &Comparison) -> Result<String, Stop> {
    let titles = [("operator", false), ("shape", false), ("dtype", false), ("before", true), ("after", true), ("ratio", true), ("95%", true)];
    let row = |p: &Pair| {
        let [low, high] = p.interval;
        vec![
            p.label.clone(),
            p.shape.clone(),
            p.dtype.clone(),
            time(p.before),
            time(p.after),
            format!("{:.3}", p.ratio),
            format!("{low:.3}..{high:.3}"),
        ]
    };
    let rows: Vec<Vec<String>> = compared.pairs.iter().map(row).collect();
    Ok(match output {
        Output::Json => serde_json::json!(compared).to_string() + "\n",
        Output::Csv => {
            let failed = |e: csv::Error| Stop::Library(Error::io("rows", e.into()));
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(titles.map(|(title, _)| title)).map_err(failed)?;
            rows.iter().try_for_each(|row| writer.write_record(row)).map_err(failed)?;
            String::from_utf8_lossy(&writer.into_inner().unwrap_or_default()).into_owned()
        }
        Output::Table => Table::written(&titles, &rows),
        Output::Md => markdown(&titles, &rows),
    })
}
