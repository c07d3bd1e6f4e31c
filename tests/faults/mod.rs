//! Faults put into kernels and launches one at a time: does the stand-in for CUDA (`tools/cuda_on_cpu`) tell of them, or does a case come out wrong?
//!
//! The lists beside this file are the faults, a trial each: `cargo nextest run --test ops faults`. A fault in a kernel is a text of a file of `kernels/`, which
//! must stand there exactly once, and what takes its place; the kernels of the case's operator are compiled with it, all others are those of the stand-in.
//! A fault of the host is a launch that the stand-in alters. Then one case of this program runs, which must end as the list says:
//!
//! * `reported`: the stand-in tells, in these words among others.
//! * `wrong`: the case fails by its numbers, or by what was written behind them, in these words among others.
//! * `missed`: the case passes; why. `harmless` in place of it where nothing is wrong but time: then there is nothing to catch.
//!
//! `improved` says what became better since the fault was first tried and missed. docs/faults.md is made of the lists, and of those in
//! `told/`, whose kernels are wrong from the start (`told.rs`).

use libtest_mimic::{Failed, Trial};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

mod told;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    /// What they have in common, for the document.
    title: String,
    fault: Vec<Fault>,
}

#[derive(Debug, Clone, Deserialize)]
struct Fault {
    name: String,
    class: String,
    #[serde(flatten)]
    place: Place,
    /// The case that shows it, by its name in this program.
    case: String,
    #[serde(flatten)]
    ends: Ends,
    improved: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Place {
    Kernel { file: String, from: String, to: String, stem: Option<String> },
    Launch { launch: String },
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ends {
    Reported(String),
    Wrong(String),
    Missed(String),
    Harmless(String),
}

const DOCUMENT: &str = "docs/faults.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A trial for each fault, and one for the document.
pub fn trials() -> Vec<Trial> {
    let mut lists: Vec<(String, List)> = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/faults")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let list = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            lists.push((path.file_stem().unwrap().to_str().unwrap().to_owned(), list));
        }
    }
    lists.sort_by(|a, b| a.0.cmp(&b.0));
    let missing = stand_in().is_none() && std::env::var_os("ESCNET_REQUIRE_DEVICES").is_none();
    let of = |list: &str, fault: &Fault| {
        let (name, fault) = (format!("faults::{list}::{}", slug(&fault.name)), fault.clone());
        Trial::test(name.clone(), move || try_out(&name, &fault)).with_ignored_flag(missing)
    };
    let mut trials: Vec<Trial> = lists.iter().flat_map(|(name, list)| list.fault.iter().map(|fault| of(name, fault)).collect::<Vec<_>>()).collect();
    trials.push(Trial::test("faults::document", move || is_of_the_lists(&document(&lists))));
    trials
}

fn slug(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}

/// The folder of the stand-in that checks, which this program finds its driver in.
fn stand_in() -> Option<PathBuf> {
    let paths = std::env::var_os("LD_LIBRARY_PATH")?;
    std::env::split_paths(&paths).find(|path| path.join("libcuda.so.1").exists()).filter(|path| path.ends_with("checked"))
}

fn try_out(name: &str, fault: &Fault) -> Result<(), Failed> {
    let checked = stand_in().ok_or("needs the stand-in's library: tools/cuda_on_cpu/run")?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.replace("::", "."));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let mut case = Command::new(std::env::current_exe()?);
    case.args([&fault.case, "--exact"]).env_remove("CUDA_ON_CPU_LAUNCHES").env("CUDA_ON_CPU_SEED", "0");
    match &fault.place {
        Place::Kernel { file, from, to, stem } => {
            let stem = stem.as_deref().or_else(|| fault.case.split("::").next()).unwrap_or_default();
            put_into(&folder.join("kernels"), stem, file, (from, to))?;
            compile(&folder, stem, &checked)?;
            case.env("LD_LIBRARY_PATH", folder.join("checked"));
        }
        Place::Launch { launch } => _ = case.env("CUDA_ON_CPU_ALTER", launch),
    }
    let (end, said) = ended(&mut case, &folder.join("said"))?;
    std::fs::remove_dir_all(&folder)?;
    let fits = match (&fault.ends, &end) {
        (Ends::Reported(words), Ends::Reported(text)) | (Ends::Wrong(words), Ends::Wrong(text)) => text.contains(words.as_str()),
        (Ends::Missed(_) | Ends::Harmless(_), Ends::Missed(_)) => true,
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("expected {:?}, got {end:?}\n{said}", fault.ends).into()) }
}

/// Kernels with the fault in them: one operator's, and what they include.
fn put_into(kernels: &Path, stem: &str, file: &str, (from, to): (&str, &str)) -> Result<(), Failed> {
    let common = root().join("kernels/common");
    std::fs::create_dir_all(kernels.join("common"))?;
    for entry in std::fs::read_dir(common)? {
        let entry = entry?;
        std::fs::copy(entry.path(), kernels.join("common").join(entry.file_name()))?;
    }
    std::fs::copy(root().join(format!("kernels/{stem}.cu")), kernels.join(format!("{stem}.cu")))?;
    let place = kernels.join(file);
    let text = std::fs::read_to_string(&place).map_err(|e| format!("{file}: {e}"))?;
    let count = text.matches(from).count();
    if count != 1 {
        return Err(format!("a stale fault: its text stands {count} times in kernels/{file}:\n{from}").into());
    }
    std::fs::write(&place, text.replace(from, to))?;
    Ok(())
}

/// A library of the stand-in in `folder`, in which these kernels come from there.
fn compile(folder: &Path, stem: &str, checked: &Path) -> Result<(), Failed> {
    let mut make = Command::new("make");
    make.args(["--silent", "-C"]).arg(root().join("tools/cuda_on_cpu")).arg("checked").env_remove("MAKEFLAGS");
    let variable = |name: &str, value: &Path| format!("{name}={}", value.display());
    make.args([variable("OUT", folder), variable("KERNELS", &folder.join("kernels")), variable("FROM", checked), format!("STEMS={stem}")]);
    // To compile takes longer than one case.
    make.arg("OPTIMISE=-O1");
    let out = make.output()?;
    if out.status.success() { Ok(()) } else { Err(format!("the fault does not compile:\n{}", String::from_utf8_lossy(&out.stderr)).into()) }
}

/// How a run of one case ended, and all that it said.
fn ended(case: &mut Command, log: &Path) -> Result<(Ends, String), Failed> {
    const LIMIT: Duration = Duration::from_secs(120);
    let file = std::fs::File::create(log)?;
    let mut child = case.stdout(file.try_clone()?).stderr(file).stdin(Stdio::null()).spawn()?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if start.elapsed() > LIMIT => {
                child.kill()?;
                child.wait()?;
                return Err(format!("no end within {LIMIT:?}").into());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let said = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
    let line = |words: &str| said.lines().find(|line| line.starts_with(words)).map(str::to_owned);
    let end = match line("cuda_on_cpu: ") {
        _ if status.success() && said.contains(" 1 passed;") => Ends::Missed(String::new()),
        Some(report) if said.contains(" 1 failed;") => Ends::Reported(report),
        None if said.contains(" 1 failed;") => {
            // What stands behind the line that names the case.
            Ends::Wrong(said.lines().skip_while(|line| !line.starts_with("---- ")).nth(1).unwrap_or_default().to_owned())
        }
        _ => return Err(format!("neither passed nor failed:\n{said}").into()),
    };
    Ok((end, said))
}

fn is_of_the_lists(text: &str) -> Result<(), Failed> {
    let path = root().join(DOCUMENT);
    if std::env::var_os("ESCNET_WRITE_DOCUMENTS").is_some() {
        std::fs::write(&path, text)?;
    }
    let there = std::fs::read_to_string(&path)?;
    let how = format!("{DOCUMENT} is not of the lists: ESCNET_WRITE_DOCUMENTS=1 cargo nextest run --features cuda --test ops faults::document");
    if there == text { Ok(()) } else { Err(how.into()) }
}

/// docs/faults.md.
fn document(lists: &[(String, List)]) -> String {
    let faults: Vec<&Fault> = lists.iter().flat_map(|(_, list)| &list.fault).collect();
    let count = |of: &dyn Fn(&Fault) -> bool| faults.iter().filter(|f| of(f)).count();
    let caught = |f: &Fault| matches!(f.ends, Ends::Reported(_) | Ends::Wrong(_));
    let harmless = count(&|f| matches!(f.ends, Ends::Harmless(_)));
    let mut text = include_str!("introduction.md").to_owned();
    let _ = write!(
        text,
        "\n{} faults, of which {harmless} are harmless. Of the other {}: {} caught at the first try ({} told by the stand-in, {} by a case that fails), {} caught \
         after something was improved, {} missed.\n",
        faults.len(),
        faults.len() - harmless,
        count(&|f| caught(f) && f.improved.is_none()),
        count(&|f| matches!(f.ends, Ends::Reported(_)) && f.improved.is_none()),
        count(&|f| matches!(f.ends, Ends::Wrong(_)) && f.improved.is_none()),
        count(&|f| caught(f) && f.improved.is_some()),
        count(&|f| matches!(f.ends, Ends::Missed(_))),
    );
    let told = TOLD.map(|stem| (stem, told::list(stem)));
    let wrong: Vec<&told::Wrong> = told.iter().flat_map(|(_, list)| &list.fault).collect();
    let by_numbers = wrong.iter().filter(|w| is_by_numbers(w)).count();
    let _ = writeln!(
        text,
        "\n{} more are kernels of tests that are wrong in one way each, in tables of their own at the end: {} of these are told by the stand-in, {by_numbers} by \
         numbers, none is missed now (what was at first: `tools/cuda_on_cpu/README.md`).",
        wrong.len(),
        wrong.len() - by_numbers,
    );
    let mut classes: Vec<&str> = faults.iter().map(|f| f.class.as_str()).chain(wrong.iter().map(|w| w.class.as_str())).collect();
    classes.sort_unstable();
    classes.dedup();
    let _ = write!(
        text,
        "\n| class | faults | told by the stand-in | by a case | missed | harmless | kernels of tests |\n|---|---|---|---|---|---|---|\n"
    );
    for class in classes {
        let of = |ends: &dyn Fn(&Ends) -> bool| count(&|f| f.class == class && ends(&f.ends));
        let _ = writeln!(
            text,
            "| {class} | {} | {} | {} | {} | {} | {} |",
            of(&|_| true),
            of(&|e| matches!(e, Ends::Reported(_))),
            of(&|e| matches!(e, Ends::Wrong(_))),
            of(&|e| matches!(e, Ends::Missed(_))),
            of(&|e| matches!(e, Ends::Harmless(_))),
            wrong.iter().filter(|w| w.class == class).count(),
        );
    }
    for (name, list) in lists {
        let _ = write!(text, "\n## {}\n`tests/faults/{name}.toml`\n\n| fault | class | where | case | |\n|---|---|---|---|---|\n", list.title);
        for Fault { name, class, place, case, ends, improved } in &list.fault {
            let place = match place {
                Place::Kernel { file, .. } => file,
                Place::Launch { launch } => launch,
            };
            let mut ends = match ends {
                Ends::Reported(words) => format!("stand-in: \"{words}\""),
                Ends::Wrong(words) => format!("case: \"{words}\""),
                Ends::Missed(why) => format!("**missed**: {why}"),
                Ends::Harmless(why) => format!("harmless: {why}"),
            };
            if let Some(how) = improved {
                let _ = write!(ends, "; at first missed, then {how}");
            }
            let _ = writeln!(text, "| {name} | {class} | `{place}` | `{case}` | {ends} |");
        }
    }
    for (stem, list) in told {
        let _ = write!(
            text,
            "\n## {}\n`tests/cuda/kernels/{stem}.cu`, `tests/faults/told/{stem}.toml`\n\n| fault | class | kernel | |\n|---|---|---|---|\n",
            list.title
        );
        for wrong in &list.fault {
            let words = wrong.told.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            let ends = if is_by_numbers(wrong) { "numbers".to_owned() } else { format!("stand-in: {words}") };
            let _ = writeln!(text, "| {} | {} | `{}` | {ends} |", wrong.name, wrong.class, wrong.kernel);
        }
    }
    text
}

/// Files of `tests/cuda/kernels` whose kernels are wrong in one way each.
const TOLD: [&str; 3] = ["test_faults", "hopper_faults", "overlap"];

fn is_by_numbers(wrong: &told::Wrong) -> bool {
    wrong.told == [told::BY_NUMBERS]
}
