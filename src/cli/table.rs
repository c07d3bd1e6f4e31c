//! Tables for people: columns of fixed width, so that rows can be written as they come.

use console::{measure_text_width, style};

/// Between two columns.
const GAP: usize = 2;
/// How wide a table may be where nobody says how wide the terminal is.
const USUAL: usize = 100;
/// What a column keeps when others need room.
const NARROWEST: usize = 12;

/// One column.
#[derive(Debug, Clone)]
pub struct Column {
    title: &'static str,
    width: usize,
    right: bool,
}

impl Column {
    /// A column whose text begins at its left edge.
    pub fn left(title: &'static str, width: usize) -> Self {
        Column { title, width: width.max(title.len()), right: false }
    }

    /// A column whose text ends at its right edge: numbers.
    pub fn right(title: &'static str, width: usize) -> Self {
        Column { title, width: width.max(title.len()), right: true }
    }
}

/// The columns of a table.
#[derive(Debug, Clone, Default)]
pub struct Table(Vec<Column>);

impl Table {
    /// A table of these columns and one more that takes what is left of the terminal. Where that is less than `least` the first column gives
    /// way, as far as it can.
    pub fn with_rest(mut columns: Vec<Column>, title: &'static str, least: usize) -> Self {
        let taken: usize = columns.iter().map(|c| c.width + GAP).sum();
        let lacking = (taken + least).saturating_sub(screen());
        if let Some(first) = columns.first_mut() {
            let given = lacking.min(first.width.saturating_sub(NARROWEST));
            first.width -= given;
            columns.push(Column::left(title, screen().saturating_sub(taken - given).max(least)));
        }
        Table(columns)
    }

    /// A table just wide enough for these rows.
    pub fn fitting(titles: &[(&'static str, bool)], rows: &[Vec<String>]) -> Self {
        let widest = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| measure_text_width(cell)).max().unwrap_or(0);
        let column = |(i, &(title, right)): (usize, &(&'static str, bool))| {
            if right { Column::right(title, widest(i)) } else { Column::left(title, widest(i)) }
        };
        Table(titles.iter().enumerate().map(column).collect())
    }

    /// A whole table, just wide enough.
    pub fn written(titles: &[(&'static str, bool)], rows: &[Vec<String>]) -> String {
        let table = Self::fitting(titles, rows);
        table.head() + &rows.iter().map(|row| table.line(row)).collect::<String>()
    }

    /// How wide a column is.
    pub fn width(&self, column: usize) -> usize {
        self.0.get(column).map_or(0, |c| c.width)
    }

    /// The titles, underlined.
    pub fn head(&self) -> String {
        let titles: Vec<Vec<String>> = self.0.iter().map(|c| vec![style(c.title).bold().to_string()]).collect();
        let rules: Vec<Vec<String>> = self.0.iter().map(|c| vec![style("─".repeat(c.width)).dim().to_string()]).collect();
        self.row(&titles) + &self.row(&rules)
    }

    /// A row whose cells have a list of lines each.
    pub fn row(&self, cells: &[Vec<String>]) -> String {
        let mut text = String::new();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let mut written = String::new();
            for (column, cell) in self.0.iter().zip(cells) {
                let cell = cell.get(line).map_or("", String::as_str);
                let room = " ".repeat(column.width.saturating_sub(measure_text_width(cell)));
                let gap = if written.is_empty() { "" } else { "  " };
                written += &if column.right { format!("{gap}{room}{cell}") } else { format!("{gap}{cell}{room}") };
            }
            text += written.trim_end();
            text.push('\n');
        }
        text
    }

    /// A row of one line a cell.
    pub fn line(&self, cells: &[String]) -> String {
        self.row(&cells.iter().map(|cell| vec![cell.clone()]).collect::<Vec<_>>())
    }

    /// A row of the first cell and a remark that runs over the others.
    pub fn aside(&self, first: &str, remark: &str) -> String {
        let width = self.width(0);
        format!("{}  {remark}\n", console::pad_str(&tail(first, width), width, console::Alignment::Left, None))
    }
}

/// How wide the terminal is.
pub fn screen() -> usize {
    console::Term::stdout().size_checked().map_or(USUAL, |(_, columns)| columns.into())
}

/// The end of a text that is too long: of a path it says the most.
pub fn tail(text: &str, width: usize) -> String {
    let mut kept: Vec<char> = Vec::new();
    let mut taken = 1;
    for c in text.chars().rev() {
        taken += measure_text_width(&c.to_string());
        if taken > width && measure_text_width(text) > width {
            kept.push('…');
            break;
        }
        kept.push(c);
    }
    kept.iter().rev().collect()
}

/// Breaks words into lines of at most `width`.
pub fn wrap(words: impl IntoIterator<Item = String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 1 + measure_text_width(&word) <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// A bar that fills `part`, 0..1, of `width` columns, to an eighth of one.
pub fn bar(part: f32, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (part.clamp(0.0, 1.0) * (8 * width) as f32).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// A number with a unit that keeps it short: 4.09 G, 97.5 M.
pub fn short(number: u64) -> String {
    const UNITS: [(&str, f64); 5] = [("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0)];
    let value = number as f64;
    let (unit, size) = UNITS.into_iter().find(|&(_, size)| value >= size).unwrap_or(("", 1.0));
    let scaled = value / size;
    let decimals = if unit.is_empty() || scaled >= 99.95 {
        0
    } else if scaled >= 9.995 {
        1
    } else {
        2
    };
    format!("{scaled:.decimals$} {unit}").trim_end().to_owned()
}
