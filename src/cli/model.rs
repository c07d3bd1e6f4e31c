//! The options that say which model is loaded, and how it runs.

use super::stop::Stop;
use super::talk::Talk;
use clap::{Args, ValueEnum};
use escnet::infer::{Engine, EngineOptions, Generation, Sampling};
use escnet::model::config::CONFIG_FILE;
use escnet::train::captioning::search;
use escnet::weights::{VOCABULARY_FILE, WEIGHTS_FILE};
use escnet::{DType, Device};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The environment variable that names the model where the command line does not.
const MODEL_VARIABLE: &str = "ESCNET_MODEL";
/// The model that comes with the source.
const BOXED: &str = "assets/demo";

/// Which model, and where it runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct Model {
    /// The model's folder: config.json, model.safetensors, vocab.txt [default: assets/demo, where it is there]
    #[arg(short, long, value_name = "DIR", env = MODEL_VARIABLE, hide_env_values = true)]
    model: Option<PathBuf>,
    #[command(flatten)]
    device: Where,
    /// What it computes in
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// Pictures that run at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
}

/// Where it runs.
#[derive(Debug, Args)]
pub struct Where {
    /// Where it runs: auto, cpu, wgpu[:N], cuda[:N] (see `escnet devices`), or reference (slow, in f64) [default: auto]
    #[arg(long)]
    device: Option<String>,
    /// CPU threads; 0 takes one a core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

impl Where {
    /// The device's name.
    pub fn name(&self) -> &str {
        self.device.as_deref().unwrap_or("auto")
    }

    /// CPU threads that work, where the CPU does.
    pub fn threads(&self) -> usize {
        if self.threads > 0 { self.threads } else { std::thread::available_parallelism().map_or(1, usize::from) }
    }

    /// The device, to compute in `dtype`; its driver keeps what it makes of kernels.
    ///
    /// # Errors
    /// Those of [`Device::parse`].
    pub fn open(&self, dtype: DType, talk: &Talk) -> Result<Device, Stop> {
        let device = Device::parse(self.name(), self.threads, dtype)?;
        super::cache::folder().iter().for_each(|folder| device.keep_pipelines(folder));
        self.tell(&device, talk);
        Ok(device)
    }

    /// Says why `auto` took the device it took: to whoever asked for it by name, or for everything.
    pub fn tell(&self, device: &Device, talk: &Talk) {
        if let Some(note) = device.note() {
            if self.device.is_some() { talk.note(note) } else { talk.detail(note) }
        }
    }
}

/// How captions are made.
#[derive(Debug, Args)]
#[command(next_help_heading = "Captions")]
pub struct Wording {
    /// Beams of the search; 1 takes the likeliest word each time [default: 3, and 1 where words are drawn]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    beam: Option<u16>,
    /// The most tokens, start and prompt included
    #[arg(long, value_name = "N", default_value_t = 40)]
    max_len: usize,
    /// The fewest tokens [default: 5, where there may be so many]
    #[arg(long, value_name = "N")]
    min_len: Option<usize>,
    /// Words that every caption starts with
    #[arg(long, value_name = "TEXT", default_value = "")]
    prompt: String,
}

/// An element type of weights and of computing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// Single precision
    #[default]
    F32,
    /// IEEE half precision
    F16,
    /// The upper half of an f32
    Bf16,
}

impl From<Precision> for DType {
    fn from(precision: Precision) -> DType {
        match precision {
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
            Precision::Bf16 => DType::BF16,
        }
    }
}

impl Model {
    /// Loads the model.
    ///
    /// # Errors
    /// [`Stop::Input`] where there is no model folder; those of [`Engine::load`].
    pub fn load(&self, wording: &Wording, sampling: Option<Sampling>, talk: &Talk) -> Result<Engine, Stop> {
        self.load_from(self.folder()?, wording, sampling, talk)
    }

    /// The same of another model folder.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_from(&self, folder: &Path, wording: &Wording, sampling: Option<Sampling>, talk: &Talk) -> Result<Engine, Stop> {
        let begun = Instant::now();
        expect_model(folder)?;
        let options = self.options(wording, sampling)?;
        let engine = Engine::load(folder, options)?;
        self.device.tell(engine.device(), talk);
        engine.notes().iter().for_each(|note| talk.detail(note));
        let (device, dtype) = (engine.device().describe(), DType::from(self.dtype));
        talk.detail(format_args!("{}: loaded in {:.2} s; runs on {device} in {dtype}", folder.display(), begun.elapsed().as_secs_f64()));
        Ok(engine)
    }

    /// The model's folder: the one that was named, else the model in the box.
    ///
    /// # Errors
    /// [`Stop::Usage`] where there is neither.
    pub fn folder(&self) -> Result<&Path, Stop> {
        let boxed = Some(Path::new(BOXED)).filter(|p| p.join(CONFIG_FILE).is_file());
        self.model.as_deref().or(boxed).ok_or_else(|| Stop::Usage("no model was named: --model DIR".to_owned()))
    }

    /// The command line itself names a model, not the environment.
    pub fn is_named(&self) -> bool {
        self.model.is_some() && self.model.as_deref() != std::env::var_os(MODEL_VARIABLE).as_deref().map(Path::new)
    }

    /// How words are searched for, in words: what else than the weights a caption depends on.
    ///
    /// # Errors
    /// [`Stop::Usage`] where the options do not fit each other.
    pub fn search(&self, wording: &Wording) -> Result<String, Stop> {
        Ok(search(&self.options(wording, None)?))
    }

    fn options(&self, wording: &Wording, sampling: Option<Sampling>) -> Result<EngineOptions, Stop> {
        Ok(EngineOptions {
            device: self.device.name().to_owned(),
            dtype: self.dtype.into(),
            threads: self.device.threads,
            batch: self.batch(),
            generation: wording.generation(sampling)?,
            prompt: wording.prompt.clone(),
            timed: false,
            cache: super::cache::folder(),
        })
    }

    /// Pictures that run at once.
    pub fn batch(&self) -> usize {
        self.batch.into()
    }

    /// CPU threads.
    pub fn threads(&self) -> usize {
        self.device.threads()
    }
}

/// Says what a model is where a folder is none.
///
/// # Errors
/// [`Stop::Input`] then.
pub fn expect_model(folder: &Path) -> Result<(), Stop> {
    expect_files(folder, &[CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE])
}

/// Says what a model is where a folder lacks one of these files.
///
/// # Errors
/// [`Stop::Input`] then.
pub fn expect_files(folder: &Path, files: &[&str]) -> Result<(), Stop> {
    let missing: Vec<&str> = files.iter().copied().filter(|name| !folder.join(name).is_file()).collect();
    if missing.is_empty() { Ok(()) } else { Err(Stop::Input(no_model(folder, &missing))) }
}

/// Says what a model folder is.
fn no_model(path: &Path, missing: &[&str]) -> String {
    let what = match () {
        () if !path.exists() => "does not exist".to_owned(),
        () if !path.is_dir() => "is not a folder".to_owned(),
        () => format!("has no {}", missing.join(", no ")),
    };
    format!(
        "{}: {what}\nA model is a folder with {CONFIG_FILE}, {WEIGHTS_FILE} and {VOCABULARY_FILE}; `escnet convert` makes one from published checkpoints.",
        path.display()
    )
}

impl Wording {
    fn generation(&self, sampling: Option<Sampling>) -> Result<Generation, Stop> {
        let max_len = self.max_len;
        let min_len = self.min_len.unwrap_or(5.min(max_len));
        if min_len > max_len {
            return Err(Stop::Usage(format!("--min-len {min_len} is more than --max-len {max_len}")));
        }
        if let (Some(beam @ 2..), Some(_)) = (self.beam, &sampling) {
            return Err(Stop::Usage(format!("--beam {beam} searches; --temperature, --top-k, --top-p and --seed draw words: choose one")));
        }
        let usual = if sampling.is_some() { 1 } else { 3 };
        let beams = self.beam.map_or(usual, usize::from);
        Ok(Generation { beams, max_length: max_len, min_length: min_len, sampling, ..Generation::default() })
    }
}
