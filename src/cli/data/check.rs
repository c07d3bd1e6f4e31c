//! `escnet data check`: what is in a data set, and what is wrong with it.

use super::set::{Set, deliver};
use crate::cli::Done;
use crate::cli::inspect::Format;
use crate::cli::stop::Stop;
use crate::cli::table::Table;
use crate::cli::talk::Talk;
use clap::Args;
use console::style;
use escnet::data::dataset::check::{Member, Report, check};

/// Counts a data set and finds what is wrong with it.
///
/// Every picture is opened; nothing is changed. Findings, which end in exit code 1, are malformed rows, repeated ids, pictures that are missing, cannot be
/// read, show nothing or are the same byte for byte, and pictures or ids in more than one split. Pictures that look alike are only mentioned.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    set: Set,
    /// How it is written; with -v a table has every finding
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
}

/// How many findings of a kind are shown.
const SHOWN: usize = 5;
/// How many pictures of one finding are.
const MEMBERS: usize = 4;

impl Check {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        let listing = self.set.list()?;
        let counting = talk.counting("looking at pictures", listing.entries.len());
        let report = check(&listing, &|| counting.advance(1));
        counting.finish();
        let findings = report.findings();
        let text = match self.format {
            Format::Json => serde_json::json!({ "dataset": self.set.path().display().to_string(), "clean": findings == 0, "findings": findings, "report": report }).to_string() + "\n",
            Format::Table => told(&report, talk.is_verbose()),
        };
        deliver(&text, None)?;
        if findings > 0 {
            return Err(Stop::Check(format!("{}: {findings} finding(s)", self.set.path().display())));
        }
        talk.note(format_args!("{}: nothing is wrong", self.set.path().display()));
        Ok(())
    }
}

fn told(report: &Report, every: bool) -> String {
    let mut text = counts(report);
    let labelled = report.attributes.iter().filter(|(_, count)| **count > 0);
    let shares: Vec<String> = labelled.map(|(name, count)| format!("{name} {:.0}%", 100.0 * *count as f64 / report.samples.max(1) as f64)).collect();
    if !shares.is_empty() {
        text += &format!("\nlabelled: {}\n", shares.join(", "));
    }
    if report.undecided > 0 {
        text += &format!("\n{} records have no single label and are left out\n", report.undecided);
    }
    let lines = |members: &[Vec<Member>]| members.iter().map(|group| group_of(group)).collect::<Vec<_>>();
    let sections: [(&str, Vec<String>); 8] = [
        ("malformed records", report.malformed.iter().map(ToString::to_string).collect()),
        ("repeated ids", report.repeated_ids.iter().map(|p| format!("{} is {}", p.record, p.got)).collect()),
        ("missing pictures", report.missing.iter().map(|m| m.image.clone()).collect()),
        ("unreadable pictures", report.unreadable.iter().map(|u| format!("{}: {}", u.member.image, u.reason)).collect()),
        ("placeholders", report.placeholders.iter().map(|p| format!("{}: {}", p.why, group_of(&p.members))).collect()),
        ("the same picture", lines(&report.duplicates)),
        ("leaks between splits", report.leaks.iter().map(|l| format!("the same {}: {}", l.shared, group_of(&l.members))).collect()),
        ("pictures that look alike", lines(&report.near_duplicates)),
    ];
    for (title, found) in sections.iter().filter(|(_, found)| !found.is_empty()) {
        text += &format!("\n{}: {}\n", style(title).bold(), found.len());
        let shown = if every { found.len() } else { SHOWN.min(found.len()) };
        text += &found.iter().take(shown).map(|line| format!("  {line}\n")).collect::<String>();
        if shown < found.len() {
            text += &style(format!("  and {} more, -v shows them\n", found.len() - shown)).dim().to_string();
        }
    }
    text
}

/// The samples of each class and split.
fn counts(report: &Report) -> String {
    let row = |name: &str, [train, val, test]: [usize; 3]| -> Vec<String> {
        [name.to_owned()].into_iter().chain([train, val, test, train + val + test].map(|count| count.to_string())).collect()
    };
    let mut rows: Vec<Vec<String>> = report.classes.iter().map(|c| row(&c.name, [c.train, c.val, c.test])).collect();
    let sum = |of: fn(&escnet::data::dataset::check::Class) -> usize| report.classes.iter().map(of).sum();
    rows.push(row("together", [sum(|c| c.train), sum(|c| c.val), sum(|c| c.test)]));
    let table = Table::fitting(&[("class", false), ("train", true), ("val", true), ("test", true), ("together", true)], &rows);
    format!("layout: {}\n\n", report.layout) + &table.head() + &rows.iter().map(|row| table.line(row)).collect::<String>()
}

/// The pictures of a finding, with class and split where those differ.
fn group_of(members: &[Member]) -> String {
    let differ = |of: fn(&Member) -> String| members.iter().any(|m| Some(of(m)) != members.first().map(of));
    let split = |m: &Member| m.split.map_or(String::new(), |split| split.name().to_owned());
    let (classes, splits) = (differ(|m| m.class.clone()), differ(split));
    let told = |m: &Member| {
        let remarks: Vec<String> =
            [(classes, m.class.clone()), (splits, split(m))].into_iter().filter(|(said, _)| *said).map(|(_, remark)| remark).collect();
        if remarks.is_empty() { m.image.clone() } else { format!("{} ({})", m.image, remarks.join(", ")) }
    };
    let more = members.len().saturating_sub(MEMBERS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    members.iter().take(MEMBERS).map(told).collect::<Vec<_>>().join(", ") + &more
}
