//! Which picture goes to which split, and what the lists say of it.

use super::Spec;
use super::content::Emotion;
use super::dice::{Dice, Use};

/// A line of `train.json`, `val.json` or `test.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub emotion: &'static str,
    pub id: String,
    /// Relative to the set's folder.
    pub image: String,
    pub annotation: String,
}

impl Row {
    /// That of the picture with this label and number.
    pub fn new(label: Emotion, index: usize) -> Self {
        let emotion = label.name();
        let id = format!("{emotion}_{index:05}");
        Row { emotion, image: format!("image/{emotion}/{id}.png"), annotation: format!("annotation/{emotion}/{id}.json"), id }
    }
}

/// The rows for training, validation and testing: of each label's pictures 80, 5 and 15 in a hundred, by lot, in random order.
pub(super) fn split(spec: &Spec) -> [Vec<Row>; 3] {
    let mut splits = [Vec::new(), Vec::new(), Vec::new()];
    let mut by_label = vec![Vec::new(); Emotion::ALL.len()];
    for index in 0..spec.count {
        let label = spec.label(index);
        let lot = Dice::new(spec.seed, index as u32, Use::Split).bits();
        if let Some(rows) = by_label.get_mut(label as usize) {
            rows.push((lot, index, label));
        }
    }
    let [train, val, test] = &mut splits;
    for mut rows in by_label {
        rows.sort_unstable();
        let share = |percent: usize| (rows.len() * percent + 50) / 100;
        let (for_val, for_test) = (share(5), share(15));
        test.extend(rows.drain(..for_test));
        val.extend(rows.drain(..for_val));
        train.extend(rows);
    }
    splits.map(|mut rows| {
        rows.sort_unstable();
        rows.into_iter().map(|(_, index, label)| Row::new(label, index)).collect()
    })
}
