//! Doing what an ablation asks for.

use super::{Ablation, Outcome, RESULT_FILE, Setting, Summary, Told};
use crate::data::captions::lexicon;
use crate::data::captions_file;
use crate::data::dataset::{Dataset, Split};
use crate::data::jsonl;
use crate::error::{Error, Result};
use crate::infer::{Caption, Engine, EngineOptions};
use crate::model::config::Highlight;
use crate::train::ablate::table::{Scores, markdown, rows_csv};
use crate::train::captioners::Captioners;
use crate::train::captioning::{Captioning, Request, search};
use crate::train::config::{CaptionSource, Keep, RunConfig};
use crate::train::evaluate::{Options, Report, Seen, evaluate};
use crate::train::folder::{MODEL, make, write_text};
use crate::train::logs::METRICS;
use crate::train::record::{Kind, Row};
use crate::train::run::dataset;
use crate::train::trainer::Ended;
use crate::train::watch::Watch;
use crate::train::{train_captioner, train_classifier};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

impl Ablation {
    /// Trains and judges all that is not finished yet, and writes the results after each.
    ///
    /// # Errors
    /// [`Error::Config`] where a folder holds a run of other settings or the split to judge by is empty; those of training, captioning and judging.
    pub fn run(&self, watch: &mut dyn Watch) -> Result<Ended> {
        let out = &self.config.out;
        make(out)?;
        let asked = toml::to_string(&self.config);
        let asked = asked.map_err(|e| Error::Argument { name: "config", expected: "values TOML can hold".into(), got: e.to_string() })?;
        write_text(&out.join("ablate.toml"), &asked)?;
        let all = self.settings.len() * self.config.seeds.len();
        let mut done = self.write_results()?;
        if done > 0 {
            watch.note(&format!("{done} of {all} runs are finished already"));
        }
        for &seed in &self.config.seeds {
            let mut open = Vec::new();
            for &setting in &self.settings {
                if self.outcome(seed, setting)?.is_none_or(|found| found.scores.is_none()) {
                    open.push(setting);
                }
            }
            let Some(&first) = open.first() else { continue };
            let data = self.data(&self.run_of(seed, first)?)?;
            for told in [Told::Generic, Told::Affective] {
                if let Some(&reader) = open.iter().find(|setting| setting.captions == told)
                    && self.tell(seed, reader, &data, watch)? == Ended::Stopped
                {
                    return Ok(Ended::Stopped);
                }
            }
            for setting in open {
                done += 1;
                watch.note(&format!("run {done} of {all}: seed {seed}, {}", setting.values().join(", ")));
                if self.one(seed, setting, &data, watch)? == Ended::Stopped {
                    return Ok(Ended::Stopped);
                }
                self.write_results()?;
            }
        }
        Ok(Ended::Finished)
    }

    /// The settings of a run.
    pub(super) fn run_of(&self, seed: u64, setting: Setting) -> Result<RunConfig> {
        let mut run = self.base.clone();
        run.seed = seed;
        run.captioner.out = self.captioner(seed, setting.captions);
        run.classifier.out = self.place(seed, setting);
        run.classifier.captions = match setting.captions.kind() {
            Some(kind) => {
                run.captioner.style.kind = kind;
                CaptionSource::File(run.captioner.out.join("captions.jsonl"))
            }
            None => CaptionSource::None,
        };
        setting.lay_over(&mut run)?;
        if setting.highlight == Highlight::Lexicon && run.model.lexicon.is_none() {
            run.model.lexicon = Some(self.lexicon());
        }
        Ok(run)
    }

    fn lexicon(&self) -> PathBuf {
        self.config.out.join("lexicon.tsv")
    }

    /// The data set, with a split to judge by; and the affect words of its classes.
    fn data(&self, run: &RunConfig) -> Result<Dataset> {
        let data = dataset(run)?;
        if data.split(self.config.split).is_empty() {
            let expected = format!("pictures in the {} split", self.config.split.name());
            return Err(Error::config(&run.data.path, "split", expected, "none"));
        }
        if self.base.model.lexicon.is_none() {
            write_text(&self.lexicon(), &lexicon(&data.classes))?;
        }
        Ok(data)
    }

    /// Trains the captioner that this setting's captions come from, and captions the data set.
    fn tell(&self, seed: u64, setting: Setting, data: &Dataset, watch: &mut dyn Watch) -> Result<Ended> {
        let run = self.run_of(seed, setting)?;
        let Some(file) = run.classifier.captions.file() else { return Ok(Ended::Finished) };
        // A captioner knows nothing of the axes beside its own.
        let teaching = RunConfig { model: self.base.model.clone(), ..run.clone() };
        watch.note(&format!("seed {seed}: the captioner of {} captions", super::setting::name(&setting.captions)));
        if train_captioner(&teaching, true, watch)? == Ended::Stopped {
            return Ok(Ended::Stopped);
        }
        let options = engine_options(&run, run.captioner.stage.batch);
        let request = Request {
            set: data,
            splits: &Split::ALL,
            captioners: Captioners::of_run(&run.captioner.out)?,
            search: search(&options),
            batch: options.batch,
            output: file,
            overwrite: false,
        };
        let work = Captioning::open(request)?;
        if work.missing() > 0 {
            watch.begin("captions", (work.all() - work.missing()) as u64, work.all() as u64);
        }
        let ended = work.run(run.data.workers, &mut |folder| Engine::load(folder, options.clone()), &mut |seen| goes_on(watch, seen))?;
        Ok(if ended.is_some() && !watch.stop() { Ended::Finished } else { Ended::Stopped })
    }

    /// Trains and judges a classifier.
    fn one(&self, seed: u64, setting: Setting, data: &Dataset, watch: &mut dyn Watch) -> Result<Ended> {
        let begun = Instant::now();
        let before = self.outcome(seed, setting)?.map_or(0.0, |found| found.seconds);
        let run = self.run_of(seed, setting)?;
        let mut scores = None;
        if train_classifier(&run, true, watch)? == Ended::Finished
            && let Some(report) = self.judge(&run, data, watch)?
        {
            let val_loss = val_loss(&run.classifier.out, run.classifier.stage.keep)?;
            scores = Some(Scores { accuracy: report.accuracy, macro_f1: report.macro_f1, val_loss });
        }
        let outcome = Outcome { identity: self.identity(&run), seconds: before + begun.elapsed().as_secs_f64(), scores };
        let path = run.classifier.out.join(RESULT_FILE);
        let text = serde_json::to_string_pretty(&outcome).map_err(|e| Error::io(&path, e.into()))?;
        write_text(&path, &(text + "\n"))?;
        Ok(if scores.is_some() { Ended::Finished } else { Ended::Stopped })
    }

    /// Judges a trained classifier by the captions its captioner gave; none where it was stopped.
    fn judge(&self, run: &RunConfig, data: &Dataset, watch: &mut dyn Watch) -> Result<Option<Report>> {
        let samples = data.split(self.config.split);
        let told = run.classifier.captions.file().map(captions_file::read).transpose()?;
        let caption = |id: &str| match &told {
            Some(told) => told.get(id).map(|row| Caption { text: row.caption.clone(), ids: row.ids.clone(), score: row.score }),
            // A model that reads nothing needs nobody to tell it.
            None => Some(Caption { text: String::new(), ids: Vec::new(), score: 0.0 }),
        };
        let captions: HashMap<String, Caption> = samples.iter().filter_map(|s| Some((s.id.clone(), caption(&s.id)?))).collect();
        let options = Options {
            classes: &data.classes,
            captions: Some(captions),
            references: (run.captioner.style, run.seed),
            skip_broken: false,
            batch: run.classifier.stage.batch,
            workers: run.data.workers,
        };
        let mut engine = Engine::load(&run.classifier.out.join(MODEL), engine_options(run, options.batch))?;
        watch.begin(&format!("{} split", self.config.split.name()), 0, samples.len() as u64);
        evaluate(&mut engine, samples, &options, &mut |seen| goes_on(watch, seen))
    }

    /// Writes what is finished so far, and says how many runs that are.
    fn write_results(&self) -> Result<usize> {
        let rows = self.rows()?;
        let table: Vec<Summary> = super::table::summarize(&rows, &self.settings, self.config.center);
        write_text(&self.config.out.join("results.csv"), &rows_csv(&rows)?)?;
        write_text(&self.config.out.join("table.md"), &markdown(&table, self.config.split))?;
        Ok(rows.len())
    }
}

fn engine_options(run: &RunConfig, batch: usize) -> EngineOptions {
    EngineOptions { device: run.device.clone(), threads: run.threads, batch, cache: run.cache.clone(), ..EngineOptions::default() }
}

/// Tells who looks on of a picture, and asks them whether to go on.
fn goes_on(watch: &mut dyn Watch, seen: Seen) -> bool {
    match seen {
        Seen::Answered(count) => watch.counted(count),
        Seen::Broken(problem) => {
            watch.note(&problem.to_string());
            watch.counted(1);
        }
    }
    !watch.stop()
}

/// The validation loss of the weights that a run kept.
fn val_loss(dir: &Path, keep: Keep) -> Result<Option<f64>> {
    let rows: Vec<Row> = jsonl::read(dir.join(METRICS))?;
    let mut judged = rows.iter().filter(|row| row.kind == Kind::Val).filter_map(|row| Some((row.accuracy?, row.loss?)));
    let better = |best: (f64, f64), new: (f64, f64)| if (new.0, -new.1) > (best.0, -best.1) { new } else { best };
    let kept = match keep {
        Keep::Best => judged.reduce(better),
        Keep::Last => judged.next_back(),
    };
    Ok(kept.map(|(_, loss)| loss))
}
