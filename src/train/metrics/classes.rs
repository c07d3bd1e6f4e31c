//! Accuracy, precision, recall and F1 from a table of what was taken for what.

use super::ratio;
use crate::error::{Error, Result};
use serde::Serialize;

/// Counts of (truth, prediction). Samples for which there is no prediction, since their picture is broken, are counted beside the table and
/// are wrong answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The names of the classes.
    classes: Vec<String>,
    /// Row: truth; column: prediction.
    counts: Vec<Vec<u64>>,
    /// Of each class, the samples without a prediction.
    missed: Vec<u64>,
}

/// How well one class is told. What would be 0 / 0 is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScores {
    /// Its name.
    pub class: String,
    /// How many of those predicted as the class are of it; none for a class that is never predicted.
    pub precision: Option<f64>,
    /// How many of the class are predicted as it; none for a class without samples.
    pub recall: Option<f64>,
    /// 2 tp / (2 tp + fp + fn); 0 for a class that is only predicted or only there, none for one that is neither.
    pub f1: Option<f64>,
    /// Samples of the class.
    pub support: u64,
    /// Samples predicted as the class.
    pub predicted: u64,
}

impl Confusion {
    /// Nothing is counted yet.
    pub fn new(classes: &[String]) -> Self {
        let n = classes.len();
        Confusion { classes: classes.to_vec(), counts: vec![vec![0; n]; n], missed: vec![0; n] }
    }

    /// Counts a sample of class `truth` that was taken for `predicted`.
    ///
    /// # Errors
    /// [`Error::Argument`] where there is no such class.
    pub fn add(&mut self, truth: usize, predicted: usize) -> Result<()> {
        let classes = self.classes.len();
        let row = self.counts.get_mut(truth).ok_or_else(|| no_class("truth", classes, truth))?;
        *row.get_mut(predicted).ok_or_else(|| no_class("predicted", classes, predicted))? += 1;
        Ok(())
    }

    /// Counts a sample of class `truth` without a prediction.
    ///
    /// # Errors
    /// As [`Confusion::add`].
    pub fn miss(&mut self, truth: usize) -> Result<()> {
        let classes = self.classes.len();
        *self.missed.get_mut(truth).ok_or_else(|| no_class("truth", classes, truth))? += 1;
        Ok(())
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How many of each class (row) were taken for each class (column).
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// Of each class, the samples without a prediction.
    pub fn missed(&self) -> &[u64] {
        &self.missed
    }

    /// All samples.
    pub fn total(&self) -> u64 {
        (0..self.classes.len()).map(|class| self.support(class)).sum()
    }

    /// Right answers.
    pub fn right(&self) -> u64 {
        self.counts.iter().enumerate().filter_map(|(class, row)| row.get(class)).sum()
    }

    /// Right answers of all samples; none without samples.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.right(), self.total())
    }

    /// The scores of each class.
    pub fn scores(&self) -> Vec<ClassScores> {
        let of = |(class, name): (usize, &String)| {
            let right = self.counts.get(class).and_then(|row| row.get(class)).copied().unwrap_or(0);
            let (support, predicted) = (self.support(class), self.counts.iter().filter_map(|row| row.get(class)).sum());
            ClassScores {
                class: name.clone(),
                precision: ratio(right, predicted),
                recall: ratio(right, support),
                f1: ratio(2 * right, support + predicted),
                support,
                predicted,
            }
        };
        self.classes.iter().enumerate().map(of).collect()
    }

    /// The mean F1 of the classes that occur among samples or predictions, as scikit-learn has it: a class without samples weighs in, with 0, only
    /// where something was taken for it. None where no class occurs.
    pub fn macro_f1(&self) -> Option<f64> {
        let scores: Vec<f64> = self.scores().into_iter().filter_map(|class| class.f1).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }

    /// The table as CSV: a row for each truth, a column for each prediction and one, `broken`, for pictures without one.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be put together.
    pub fn to_csv(&self) -> Result<Vec<u8>> {
        let wrong = |e: csv::Error| Error::io("confusion.csv", e.into());
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(["truth"].into_iter().chain(self.classes().iter().map(String::as_str)).chain(["broken"])).map_err(wrong)?;
        for ((class, row), missed) in self.classes().iter().zip(self.counts()).zip(self.missed()) {
            let counts = row.iter().chain([missed]).map(u64::to_string);
            table.write_record([class.clone()].into_iter().chain(counts)).map_err(wrong)?;
        }
        table.into_inner().map_err(|e| Error::io("confusion.csv", e.into_error()))
    }

    /// Samples of a class.
    fn support(&self, class: usize) -> u64 {
        self.counts.get(class).map_or(0, |row| row.iter().sum()) + self.missed.get(class).copied().unwrap_or(0)
    }
}

fn no_class(name: &'static str, classes: usize, got: usize) -> Error {
    Error::Argument { name, expected: format!("the number of a class, below {classes}"), got: got.to_string() }
}
