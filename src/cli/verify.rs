//! `escnet verify`: golden numbers against a device.

use super::Done;
use super::inspect::Format;
use super::model::{Precision, Where};
use super::stop::Stop;
use super::table::Table;
use super::talk::Talk;
use clap::Args;
use console::style;
use escnet::verify::{Comparison, model_folder, operator_file};
use escnet::{Device, Error, ops};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Compares golden numbers with what a device computes.
///
/// A folder is either that of a model with a golden.safetensors beside it, or one of operator files, each named after its operator; folders in it are looked into.
/// Each tensor's relative error must be within its limit, which follows from PyTorch's own error in the same precision.
#[derive(Debug, Args)]
pub struct Verify {
    /// Golden folders, or operator files
    #[arg(value_name = "DIR", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    device: Where,
    /// What it computes in
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// Takes every file as an operator's, also those whose names no operator has
    #[arg(long)]
    ops: bool,
    /// How it is written; with -v a table has every tensor
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
}

/// What there is to verify.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Golden {
    Model(PathBuf),
    Operator(PathBuf),
}

/// The comparisons of one kind from one place.
struct Group {
    name: String,
    comparisons: Vec<Comparison>,
}

/// How many tensors of a group are shown where all pass.
const SHOWN: usize = 3;

impl Verify {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        let device = self.device.open(self.dtype.into(), talk)?;
        let mut golden = Vec::new();
        for path in &self.paths {
            let before = golden.len();
            self.find(path, &mut golden)?;
            if golden.len() == before {
                let expected = "a model's folder with a golden.safetensors, or operator files named after their operators";
                return Err(Stop::Input(format!("{}: holds nothing to verify; expected {expected}", path.display())));
            }
        }
        let talk = &talk.counting("verifying", golden.len());
        let mut groups: Vec<Group> = Vec::new();
        for place in golden {
            let compared = match &place {
                Golden::Model(folder) => model_folder(folder, &device, self.dtype.into()),
                Golden::Operator(file) => operator_file(file, &device, self.dtype.into()),
            };
            // Of golden files it is their form that is wrong.
            let compared = compared.map_err(|e| if matches!(e, Error::Graph { .. }) { Stop::Input(e.to_string()) } else { e.into() })?;
            let new = group(&place, compared);
            if self.format == Format::Table {
                let text: String = new.iter().map(|group| told(group, talk.is_verbose())).collect();
                talk.aside(|| std::io::stdout().write_all(text.as_bytes()))?;
            }
            groups.extend(new);
            talk.advance(1);
        }
        talk.finish();
        let all: usize = groups.iter().map(|g| g.comparisons.len()).sum();
        let out: usize = groups.iter().map(Group::out).sum();
        if self.format == Format::Json {
            writeln!(std::io::stdout(), "{}", self.json(&device, &groups, all, out))?;
        }
        if out > 0 {
            return Err(Stop::Check(format!("{out} of {all} tensors are out of their limits on {}", device.name())));
        }
        talk.note(format_args!("{all} tensors are within their limits on {}", device.name()));
        Ok(())
    }

    /// What can be verified at a path.
    fn find(&self, path: &Path, golden: &mut Vec<Golden>) -> Result<(), Stop> {
        let is_weights = |path: &Path| path.extension().is_some_and(|e| e == "safetensors");
        let is_operator =
            |path: &Path| is_weights(path) && path.file_stem().and_then(|s| s.to_str()).and_then(ops::row).is_some_and(|row| row.golden.is_some());
        if !path.is_dir() {
            golden.push(Golden::Operator(path.to_owned()));
            return Ok(());
        }
        if !self.ops && path.join("config.json").is_file() && path.join("golden.safetensors").is_file() {
            golden.push(Golden::Model(path.to_owned()));
            return Ok(());
        }
        let entries = std::fs::read_dir(path).and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>());
        let mut entries = entries.map_err(|e| Error::io(path, e))?;
        entries.sort();
        for entry in entries {
            if entry.is_dir() && !entry.is_symlink() && !self.ops {
                self.find(&entry, golden)?;
            } else if is_operator(&entry) || (self.ops && is_weights(&entry)) {
                golden.push(Golden::Operator(entry));
            }
        }
        Ok(())
    }

    fn json(&self, device: &Device, groups: &[Group], all: usize, out: usize) -> serde_json::Value {
        let one = |c: &Comparison| serde_json::json!({ "name": c.name, "error": c.error, "limit": c.limit, "torch": c.torch, "judged": !c.unjudged, "passed": c.passed() });
        let tensors: Vec<_> = groups.iter().flat_map(|g| g.comparisons.iter().map(one)).collect();
        let dtype = escnet::DType::from(self.dtype).name();
        serde_json::json!({ "device": device.name(), "dtype": dtype, "passed": out == 0, "all": all, "out": out, "tensors": tensors })
    }
}

impl Group {
    /// How many are out of their limits.
    fn out(&self) -> usize {
        self.comparisons.iter().filter(|c| !c.passed()).count()
    }
}

/// Sorts a place's comparisons by kind: a model's by what comes before the first dot, `out`, `loss`, `grad` and so on.
fn group(place: &Golden, comparisons: Vec<Comparison>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for comparison in comparisons {
        let name = match place {
            Golden::Operator(file) => file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            Golden::Model(folder) => {
                let kind = comparison.name.split_once('/').map_or(comparison.name.as_str(), |(_, rest)| rest).split('.').next().unwrap_or_default();
                format!("{} {kind}", folder.display())
            }
        };
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.comparisons.push(comparison),
            None => groups.push(Group { name, comparisons: vec![comparison] }),
        }
    }
    groups
}

/// A group as a person reads it: a summary, then the tensors, the worst first. All that are out, and of the others some, or all.
fn told(group: &Group, every: bool) -> String {
    // What is not a number is worst.
    let part = |c: &Comparison| {
        if c.unjudged {
            -1.0
        } else if c.error.is_nan() {
            f64::INFINITY
        } else {
            c.error / c.limit
        }
    };
    let mut sorted: Vec<&Comparison> = group.comparisons.iter().collect();
    sorted.sort_by(|a, b| part(b).total_cmp(&part(a)));
    let (out, unjudged) = (group.out(), sorted.iter().filter(|c| c.unjudged).count());
    let verdict = if out > 0 { style(format!("{out} out")).red().bold() } else { style("ok".to_owned()).green() };
    let left = if unjudged > 0 { format!(", {unjudged} not judged") } else { String::new() };
    let mut text = format!("{}: {} tensors{left}, {verdict}\n", style(&group.name).bold(), sorted.len());
    let number = |x: f64| format!("{x:.1e}");
    let row = |c: &&Comparison| {
        let mark = if c.unjudged {
            style("not judged").dim()
        } else if c.passed() {
            style("")
        } else {
            style("out").red().bold()
        };
        vec![format!("  {}", c.name), number(c.error), number(c.limit), c.torch.map_or("-".to_owned(), number), mark.to_string()]
    };
    let shown = if every { sorted.len() } else { out.max(SHOWN).min(sorted.len()) };
    let rows: Vec<Vec<String>> = sorted[..shown].iter().map(row).collect();
    let table = Table::fitting(&[("  tensor", false), ("error", true), ("limit", true), ("PyTorch's", true), ("", false)], &rows);
    let dim = |line: String| style(line).dim().to_string();
    text += &dim(table.line(&["  tensor", "error", "limit", "PyTorch's", ""].map(str::to_owned)));
    text += &rows.iter().map(|row| table.line(row)).collect::<String>();
    if shown < sorted.len() {
        text += &dim(format!("  and {} more, -v shows them\n", sorted.len() - shown));
    }
    text
}
