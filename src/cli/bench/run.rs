//! `bench`: operators, or whole graphs, found, measured and told.

use super::super::Done;
use super::super::stop::Stop;
use super::super::talk::Talk;
use super::written::{append, list, of_all, time, written};
use super::{Run, commit, seconds, tell_of_build};
use escnet::bench::clocks::Clocks;
use escnet::bench::parts::{Part, model};
use escnet::bench::peaks::Peaks;
use escnet::bench::peers::Peers;
use escnet::bench::record::{Host, Row};
use escnet::bench::sampling::Patience;
use escnet::bench::shapes::{Subject, cases, listed, subjects};
use escnet::bench::subject::{Memory, Prepared};
use escnet::bench::{Settings, forced, is_of, measure_beside, variants, whole};
use escnet::{DType, Device};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

impl Run {
    pub(super) fn run(self, talk: &Talk) -> Done {
        let found = if self.whole { Vec::new() } else { self.subjects()? };
        if found.is_empty() && !self.whole {
            return Err(Stop::Usage(format!("no operator of {} matches `{}`; --list shows all", self.shapes, self.filter.unwrap_or_default())));
        }
        if self.list {
            return Ok(std::io::stdout().write_all(list(&found).as_bytes())?);
        }
        let device = self.device.open(self.dtype.into(), talk)?;
        if self.run_once {
            return self.run_once(&found, &device, talk);
        }
        let mut peers = Peers::open(&self.against, &device)?;
        tell_of_build(talk);
        if self.variant.as_deref() == Some("all") && device.with_variant("").is_none() {
            talk.note(format_args!("{} has one way for each operator: --variant all adds none", device.describe()));
        }
        let memory = if self.hot { Memory::Hot } else { Memory::Cold };
        let most = seconds(self.time)?;
        let patience = Patience { noise: self.noise / 100.0, most, ..Patience::default() };
        let peaks = if self.no_peaks {
            None
        } else {
            Some(Peaks::measure(&device, &Patience { most: most.min(Duration::from_secs(3)), ..patience.clone() })?)
        };
        peaks.iter().for_each(|peaks| talk.note(super::super::peaks::told(peaks).trim_end()));
        let settings = Settings { dtype: self.dtype.into(), memory, patience };
        let rows = if self.whole {
            self.measure_wholes(&device, peaks.as_ref(), &settings, talk)?
        } else {
            self.measure_operators(&mut peers, &found, &device, peaks.as_ref(), &settings, talk)?
        };
        if rows.is_empty() {
            return Err(self.no_such_variant());
        }
        self.append.iter().try_for_each(|path| append(path, &rows, talk))?;
        let compared = peers.beside(&rows);
        talk.note(of_all(&rows));
        std::io::stdout().write_all(written(self.output, &rows, peaks.as_ref(), &peers, compared.as_ref())?.as_bytes())?;
        peers.notes(&rows).into_iter().for_each(|note| talk.note(note));
        let loud = rows.iter().filter(|row| !row.quiet).count();
        if loud > 0 {
            talk.note(format_args!("{loud} of {} are noisier than asked, or were not measured for half a second, marked ~", rows.len()));
        }
        let unchecked = rows.iter().filter(|row| row.error.is_none()).count();
        if unchecked > 0 {
            talk.note(format_args!("{unchecked} of {} are too large to be checked, marked unchecked", rows.len()));
        }
        Ok(())
    }

    /// One execution of each, on one set of tensors: what a profiler is to see, and no more.
    fn run_once(&self, found: &[Subject], device: &Device, talk: &Talk) -> Done {
        if self.variant.as_deref() == Some("all") {
            return Err(Stop::Usage("--run-once: name one variant, not all".to_owned()));
        }
        let mut ran = 0;
        for subject in found {
            let chosen = self.variant.as_ref().map_or(Some(("", device.clone())), |name| forced(subject, device, name));
            let Some((variant, device)) = chosen else { continue };
            let mut prepared = Prepared::new(subject, &device, Memory::Hot)?;
            prepared.run()?;
            let kernels = prepared.kernels()?;
            if variant.is_empty() || is_of(variant, &kernels) {
                ran += 1;
                talk.note(format_args!("{} {}: {} execution {}", subject.op.label(), subject.shape(), prepared.copies(), kernels.join(" ")));
            }
        }
        if ran == 0 { Err(self.no_such_variant()) } else { Ok(()) }
    }

    fn no_such_variant(&self) -> Stop {
        Stop::Usage(format!("no operator that was found has kernels of the variant `{}` there", self.variant.as_deref().unwrap_or_default()))
    }

    fn tell(&self, row: &Row, done: usize, all: usize, talk: &Talk) {
        if self.progress {
            talk.note(format_args!("{done}/{all} {} {}: {}", row.label(), row.shape, time(row.us)));
        }
    }

    fn measure_operators(
        &self,
        peers: &mut Peers,
        found: &[Subject],
        device: &Device,
        peaks: Option<&Peaks>,
        settings: &Settings,
        talk: &Talk,
    ) -> Result<Vec<Row>, Stop> {
        let clocks = Arc::new(Clocks::watch(device));
        let bar = &talk.counting("measuring", found.len());
        let mut rows = Vec::new();
        for (i, subject) in found.iter().enumerate() {
            for (variant, device) in self.variants(subject, device)? {
                let row = measure_beside(peers, subject, &device, peaks, &self.host(&device, &clocks, variant), settings)?;
                self.tell(&row, i + 1, found.len(), bar);
                rows.push(row);
            }
            bar.advance(1);
        }
        bar.finish();
        Ok(rows)
    }

    fn measure_wholes(&self, device: &Device, peaks: Option<&Peaks>, settings: &Settings, talk: &Talk) -> Result<Vec<Row>, Stop> {
        let config = model(&self.shapes)?;
        let asked: Vec<(Part, u16)> = self.part.iter().flat_map(|&graph| self.batch.iter().map(move |&batch| (graph.into(), batch))).collect();
        let wanted: Vec<&(Part, u16)> =
            asked.iter().filter(|(part, _)| self.filter.as_ref().is_none_or(|f| part.name().contains(f.as_str()))).collect();
        if wanted.is_empty() {
            return Err(Stop::Usage(format!("no graph of --part matches `{}`", self.filter.as_deref().unwrap_or_default())));
        }
        let clocks = Arc::new(Clocks::watch(device));
        let bar = &talk.counting("measuring", wanted.len());
        let mut rows = Vec::new();
        for (i, &&(part, batch)) in wanted.iter().enumerate() {
            let row = whole::measure(&config, part, batch.into(), device, peaks, &self.host(device, &clocks, ""), &settings.patience)?;
            self.tell(&row, i + 1, wanted.len(), bar);
            rows.push(row);
            bar.advance(1);
        }
        bar.finish();
        Ok(rows)
    }

    fn host(&self, device: &Device, clocks: &Arc<Clocks>, variant: &'static str) -> Host {
        Host::new(device, commit(), self.device.threads(), self.dtype.into(), variant, clocks)
    }

    /// The device as often as the subject is to be measured, each with the variant that is forced.
    fn variants(&self, subject: &Subject, device: &Device) -> Result<Vec<(&'static str, Device)>, Stop> {
        match self.variant.as_deref() {
            None => Ok(vec![("", device.clone())]),
            Some("all") => Ok(variants(subject, device)?),
            Some(name) => Ok(variants(subject, device)?.into_iter().filter(|(variant, _)| *variant == name).collect()),
        }
    }

    fn subjects(&self) -> Result<Vec<Subject>, Stop> {
        let mut found = Vec::new();
        if self.shapes == "cases" {
            found = cases(self.dtype.into())?;
        } else if self.shapes == "sweep" || self.shapes.ends_with(".toml") {
            found = listed(&self.shapes, self.dtype.into())?;
        } else {
            let config = model(&self.shapes)?;
            let parts: Vec<Part> = self.part.iter().map(|&graph| graph.into()).collect();
            for &batch in &self.batch {
                found.extend(subjects(&config, &parts, batch.into(), DType::from(self.dtype))?);
            }
        }
        let wanted = |subject: &Subject| match &self.filter {
            Some(filter) => format!("{} {}", subject.op.label(), subject.shape()).contains(filter.as_str()),
            None => true,
        };
        found.retain(wanted);
        Ok(found)
    }
}
