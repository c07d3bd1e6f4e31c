//! The results of an ablation: a row for each run, and a row for each setting with mean and spread over the seeds.

use super::setting::Setting;
use crate::data::dataset::Split;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// What came of one run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Right answers of all pictures of the split, 0 to 1.
    pub accuracy: Option<f64>,
    /// Mean F1 over the classes, 0 to 1.
    pub macro_f1: Option<f64>,
    /// Mean cross-entropy over the validation split of the weights that were kept, in nats; none without such a split.
    pub val_loss: Option<f64>,
}

/// One run that is finished.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Row {
    /// What was set.
    #[serde(flatten)]
    pub setting: Setting,
    /// Its seed.
    pub seed: u64,
    /// What came of it.
    #[serde(flatten)]
    pub scores: Scores,
    /// Training and judging the classifier.
    pub seconds: f64,
}

/// Mean and spread over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the sample (n - 1); none of a single one.
    pub sd: Option<f64>,
}

/// What came of a setting, over the seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// What was set.
    #[serde(flatten)]
    pub setting: Setting,
    /// It is the setting that others are compared with.
    pub center: bool,
    /// How many seeds are finished.
    pub seeds: usize,
    /// See [`Scores::accuracy`].
    pub accuracy: Option<Spread>,
    /// See [`Scores::macro_f1`].
    pub macro_f1: Option<Spread>,
    /// See [`Scores::val_loss`].
    pub val_loss: Option<Spread>,
    /// The accuracy less the center's with the same seed.
    pub difference: Option<Spread>,
    /// Mean seconds of a run.
    pub seconds: f64,
}

impl Spread {
    /// Of these numbers; none of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let sd = || (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        (!values.is_empty()).then(|| Spread { mean, sd: (values.len() > 1).then(sd) })
    }

    /// Mean ± standard deviation, times `factor`.
    fn text(self, factor: f64, decimals: usize, signed: bool) -> String {
        let mean = factor * self.mean;
        let mean = if signed { format!("{mean:+.decimals$}") } else { format!("{mean:.decimals$}") };
        self.sd.map_or(mean.clone(), |sd| format!("{mean} ± {:.decimals$}", factor * sd))
    }
}

/// One row for each setting that has any, in the order of the settings.
pub fn summarize(rows: &[Row], settings: &[Setting], center: Setting) -> Vec<Summary> {
    let of = |setting: Setting| rows.iter().filter(move |row| row.setting == setting);
    let accuracy = |setting, seed| of(setting).find(|row| row.seed == seed).and_then(|row| row.scores.accuracy);
    let summary = |&setting: &Setting| {
        let over = |score: &dyn Fn(&Row) -> Option<f64>| Spread::of(&of(setting).filter_map(score).collect::<Vec<_>>());
        let against = |row: &Row| Some(row.scores.accuracy? - accuracy(center, row.seed)?);
        let seconds = over(&|row| Some(row.seconds))?.mean;
        Some(Summary {
            setting,
            center: setting == center,
            seeds: of(setting).count(),
            accuracy: over(&|row| row.scores.accuracy),
            macro_f1: over(&|row| row.scores.macro_f1),
            val_loss: over(&|row| row.scores.val_loss),
            difference: over(&against).filter(|_| setting != center),
            seconds,
        })
    };
    settings.iter().filter_map(summary).collect()
}

/// The columns of the table for people, and whether they hold numbers.
pub const COLUMNS: [(&str, bool); 9] = [
    ("captions", false),
    ("highlight", false),
    ("fusion", false),
    ("loss", false),
    ("accuracy %", true),
    ("macro F1 %", true),
    ("val loss", true),
    ("against center", true),
    ("seeds", true),
];

impl Summary {
    /// Its cells in that table: accuracy, F1 and difference in percent.
    pub fn cells(&self) -> Vec<String> {
        let text = |spread: Option<Spread>, factor, decimals, signed| spread.map_or("–".to_owned(), |s: Spread| s.text(factor, decimals, signed));
        let difference = if self.center { "center".to_owned() } else { text(self.difference, 100.0, 2, true) };
        let scores = [text(self.accuracy, 100.0, 2, false), text(self.macro_f1, 100.0, 2, false), text(self.val_loss, 1.0, 4, false), difference];
        self.setting.values().into_iter().chain(scores).chain([self.seeds.to_string()]).collect()
    }
}

/// What the numbers of the table are.
pub fn legend(split: Split) -> String {
    format!(
        "On the {} split: mean ± standard deviation over the seeds. Against center: accuracy less that of the center with the same seed, in points.",
        split.name()
    )
}

/// The table in Markdown.
pub fn markdown(summaries: &[Summary], split: Split) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let titles: Vec<String> = COLUMNS.iter().map(|(title, _)| (*title).to_owned()).collect();
    let rules: Vec<String> = COLUMNS.iter().map(|&(_, right)| if right { "---:" } else { "---" }.to_owned()).collect();
    let rows: String = summaries.iter().map(|summary| line(&summary.cells())).collect();
    format!("{}{}{rows}\n{}\n", line(&titles), line(&rules), legend(split))
}

/// The runs as CSV; shares are 0 to 1, what there is not is empty.
///
/// # Errors
/// None that depends on the rows.
pub fn rows_csv(rows: &[Row]) -> Result<String> {
    let titles = Setting::AXES.into_iter().chain(["seed", "accuracy", "macro_f1", "val_loss", "seconds"]);
    let cells = |row: &Row| {
        let scores = [row.scores.accuracy, row.scores.macro_f1, row.scores.val_loss].map(number);
        let rest = [row.seed.to_string()].into_iter().chain(scores).chain([format!("{:.1}", row.seconds)]);
        row.setting.values().into_iter().chain(rest).collect()
    };
    csv(titles, rows.iter().map(cells))
}

/// The table as CSV, mean and standard deviation in columns of their own.
///
/// # Errors
/// None that depends on the rows.
pub fn summaries_csv(summaries: &[Summary]) -> Result<String> {
    let scores = ["accuracy", "accuracy_sd", "macro_f1", "macro_f1_sd", "val_loss", "val_loss_sd", "difference", "difference_sd"];
    let titles = Setting::AXES.into_iter().chain(["seeds"]).chain(scores).chain(["seconds"]);
    let cells = |s: &Summary| {
        let two = |spread: Option<Spread>| [number(spread.map(|s| s.mean)), number(spread.and_then(|s| s.sd))];
        let scores = [s.accuracy, s.macro_f1, s.val_loss, s.difference].into_iter().flat_map(two);
        s.setting.values().into_iter().chain([s.seeds.to_string()]).chain(scores).chain([format!("{:.1}", s.seconds)]).collect()
    };
    csv(titles, summaries.iter().map(cells))
}

fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

fn csv(titles: impl Iterator<Item = &'static str>, rows: impl Iterator<Item = Vec<String>>) -> Result<String> {
    let failed = |e: std::io::Error| Error::io("a table", e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(titles).map_err(|e| failed(e.into()))?;
    for row in rows {
        writer.write_record(row).map_err(|e| failed(e.into()))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(e.into_error()))?;
    String::from_utf8(bytes).map_err(|e| failed(std::io::Error::other(e)))
}
