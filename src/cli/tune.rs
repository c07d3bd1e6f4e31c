//! `escnet tune`: which variants of kernels are fastest on this device, for a model's shapes.

use super::Done;
use super::bench::{Graph, commit, seconds, time};
use super::inspect::Format;
use super::model::{Precision, Where};
use super::stop::Stop;
use super::table::Table;
use super::talk::Talk;
use clap::Args;
use escnet::bench::Settings;
use escnet::bench::clocks::Clocks;
use escnet::bench::parts::{Part, model};
use escnet::bench::record::Host;
use escnet::bench::sampling::Patience;
use escnet::bench::shapes::{Subject, subjects};
use escnet::bench::subject::Memory;
use escnet::bench::tune::{Tuned, tune};
use escnet::{DType, Device};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// Tries the variants of kernels that a device has for a model's shapes, and keeps those that are faster than what operators choose by themselves.
///
/// Each is checked before it is timed, against f64, and beyond 8 GFLOP against the CPU; none is kept that was not. Choices are kept beside what drivers make of kernels (ESCNET_CACHE), for this device, this driver and these kernels, and used
/// by every verb from then on; without them operators choose by a rule, a function of device, type and extents. For CUDA and wgpu: the CPU's code has no
/// variants.
#[derive(Debug, Args)]
pub struct Tune {
    #[command(flatten)]
    device: Where,
    /// What is computed in [default: bf16, and f32 on wgpu, which has no bf16]
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// The model: escnet-base, escnet-tiny, or a folder with a config.json
    #[arg(short, long, value_name = "MODEL", default_value = "escnet-base")]
    model: String,
    /// Pictures at once
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: Vec<u16>,
    /// The graphs whose operators are tried
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Graph::Classify, Graph::CaptionEncode, Graph::CaptionStep])]
    part: Vec<Graph>,
    /// Only operators in whose name, pass or shape this stands
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Lets each execution find its tensors where the one before left them
    #[arg(long)]
    hot: bool,
    /// The most seconds for a variant
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    time: f64,
    /// Measures, and keeps nothing
    #[arg(long)]
    dry_run: bool,
    /// Keeps the choices in this file, to be carried elsewhere, and not in the folder of caches
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    out: Option<PathBuf>,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
}

impl Tune {
    /// Does it.
    pub fn run(self, talk: &Talk) -> Done {
        // Not by `open`, which would take choices that were made before.
        let device = Device::parse(self.device.name(), self.device.threads(), self.dtype.unwrap_or_default().into())?;
        let usual = if device.name() == "wgpu" { Precision::F32 } else { Precision::Bf16 };
        let dtype = DType::from(self.dtype.unwrap_or(usual));
        self.device.tell(&device, talk);
        // Whichever it is.
        if device.with_variant("").is_none() {
            return Err(Stop::Usage(format!("{} has nothing to choose among: --device cuda or wgpu", device.describe())));
        }
        let config = model(&self.model)?;
        let parts: Vec<Part> = self.part.iter().map(|&graph| graph.into()).collect();
        let mut found: Vec<Subject> = Vec::new();
        for &batch in &self.batch {
            found.extend(subjects(&config, &parts, batch.into(), dtype)?);
        }
        found.retain(|subject| self.only.as_ref().is_none_or(|only| format!("{} {}", subject.op.label(), subject.shape()).contains(only.as_str())));
        let most = seconds(self.time)?;
        let patience = Patience { most, ..Patience::default() };
        let settings = Settings { dtype, memory: if self.hot { Memory::Hot } else { Memory::Cold }, patience };
        let clocks = Arc::new(Clocks::watch(&device));
        let bar = &talk.counting("tuning", found.len());
        let mut tuned = Vec::new();
        for subject in &found {
            let host = Host::new(&device, commit(), self.device.threads(), dtype, "", &clocks);
            tuned.extend(tune(subject, &device, &host, &settings)?);
            bar.advance(1);
        }
        bar.finish();
        self.keep(&device, &tuned, talk)?;
        let text = match self.format {
            Format::Json => serde_json::json!({ "device": device.describe(), "dtype": dtype.name(), "tuned": tuned }).to_string() + "\n",
            Format::Table => table(&tuned),
        };
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }

    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn keep(&self, device: &Device, tuned: &[Tuned], talk: &Talk) -> Done {
        use escnet::device::Choices;
        let Some(mut choices) = device.choices() else { return Ok(()) };
        let place = self.out.clone().or_else(|| super::cache::folder().map(|folder| folder.join(choices.file_name()))).filter(|_| !self.dry_run);
        let Some(place) = place else { return Ok(()) };
        // What was found for other models, types and numbers of pictures stays.
        if let Ok(before) = Choices::read(&place)
            && before.fit(&choices)
        {
            choices.variants = before.variants;
        }
        for tuned in tuned {
            if tuned.best == tuned.rule {
                choices.variants.remove(&tuned.signature);
            } else {
                choices.variants.insert(tuned.signature.clone(), tuned.best.to_owned());
            }
        }
        place.parent().filter(|_| self.out.is_none()).map_or(Ok(()), std::fs::create_dir_all).map_err(|e| escnet::Error::io(&place, e))?;
        choices.write(&place)?;
        talk.note(format_args!(
            "{} of {} are not as the rule has them; {} keeps {}",
            better(tuned),
            tuned.len(),
            place.display(),
            choices.variants.len()
        ));
        Ok(())
    }

    #[cfg(not(any(feature = "cuda", feature = "wgpu")))]
    fn keep(&self, _: &Device, tuned: &[Tuned], _: &Talk) -> Done {
        let _ = (better(tuned), &self.out, self.dry_run);
        Ok(())
    }
}

/// How many are not as the rule has them.
fn better(tuned: &[Tuned]) -> usize {
    tuned.iter().filter(|tuned| tuned.best != tuned.rule).count()
}

fn table(tuned: &[Tuned]) -> String {
    let row = |t: &Tuned| {
        let [rule, best] = t.rule_and_best();
        let others = t.us.iter().filter(|(name, _)| *name != t.rule && *name != t.best);
        let others: Vec<String> = others.map(|(name, us)| format!("{name} {}", time(*us))).collect();
        vec![
            t.op.clone(),
            t.shape.clone(),
            t.uses.to_string(),
            t.rule.to_owned(),
            time(rule),
            t.best.to_owned(),
            time(best),
            format!("{:.3}", best / rule),
            others.join(", "),
        ]
    };
    let titles = [
        ("operator", false),
        ("shape", false),
        ("uses", true),
        ("rule", false),
        ("time", true),
        ("best", false),
        ("time", true),
        ("ratio", true),
        ("others", false),
    ];
    Table::written(&titles, &tuned.iter().map(row).collect::<Vec<_>>())
}
