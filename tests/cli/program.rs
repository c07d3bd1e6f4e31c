//! Running the program, and folders to run it in.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file of the golden folder.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// One of the pictures.
pub fn picture(name: &str) -> String {
    text(&golden("preprocess").join(name))
}

/// A small model that was fitted, so that its captions differ.
pub fn model() -> String {
    text(&golden("trained"))
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// How a run ended and what it printed.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Run {
    /// What was printed, after a run that ended well.
    #[track_caller]
    pub fn ok(self) -> String {
        self.ends(0).out
    }

    /// The run, if it ended so.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// The lines as JSON.
    #[track_caller]
    pub fn jsonl(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The program, away from the settings of whoever runs the tests.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_escnet"));
    command.env_remove("ESCNET_MODEL").env("ESCNET_CACHE", "off").env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").stdin(Stdio::null());
    command
}

pub fn run<A: AsRef<str>>(arguments: &[A]) -> Run {
    let output = program().args(arguments.iter().map(AsRef::as_ref)).output().unwrap();
    Run { code: output.status.code(), out: String::from_utf8(output.stdout).unwrap(), err: String::from_utf8(output.stderr).unwrap() }
}

/// `escnet VERB ... --model <the small model>`
pub fn with_model(arguments: &[&str]) -> Run {
    run(&[arguments, &["--model", &model()]].concat())
}

/// The same, with something on standard input.
pub fn with_input(arguments: &[&str], input: &[u8]) -> Run {
    let mut command = program();
    command.args(arguments).args(["--model", &model()]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    Run { code: output.status.code(), out: String::from_utf8(output.stdout).unwrap(), err: String::from_utf8(output.stderr).unwrap() }
}

/// A folder of its own for each test, gone when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("escnet-cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path.canonicalize().unwrap())
    }

    /// With copies of golden pictures in it: (name, picture).
    pub fn of(pictures: &[(&str, &str)]) -> Self {
        let folder = Self::new();
        pictures.iter().for_each(|(name, from)| folder.write(name, &std::fs::read(picture(from)).unwrap()));
        folder
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> String {
        text(&self.0.join(name))
    }

    /// The names of the files in it, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
