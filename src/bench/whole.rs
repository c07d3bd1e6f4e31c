//! A graph of a model as a whole: run as the model runs it, checked, timed.

use super::filled::filled;
use super::parts::{Part, build};
use super::peaks::Peaks;
use super::record::{Host, Measured, Row};
use super::sampled;
use super::sampling::Patience;
use super::subject::computed_in;
use super::yardstick::{CHECKABLE, Yardstick};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{Clocked, Graph, Options, Segment, Session, Source, StateKind, Store, prepare};
use crate::model::config::EscnetConfig;
use crate::op::Cost;
use crate::ops::rules;
use crate::tensor::{DType, TensorType};
use crate::verify::{Floor, compare};

/// What a result may be off, relatively. `verify` is the judge of a model, beside PyTorch's own error; here it is only to be seen that what is timed computes the
/// model: in half precision within the most that `verify` allows, in f32 far outside of what roundings add up to.
fn limit(dtype: DType) -> Floor {
    Floor(if dtype == DType::F32 { 1e-3 } else { 0.2 })
}

/// Checks and measures one graph of a model for `batch` pictures, in `host.dtype`.
///
/// # Errors
/// [`Error::Graph`] where a result is off; those of the model's builders and of the device.
pub fn measure(
    config: &EscnetConfig,
    part: Part,
    batch: usize,
    device: &Device,
    peaks: Option<&Peaks>,
    host: &Host,
    patience: &Patience,
) -> Result<Row> {
    let mut whole = Whole::new(config, part, batch, device, host.dtype)?;
    let error = whole.check(config, part)?;
    let samples = sampled(patience, || whole.run())?;
    let measured = Measured {
        device: device.describe(),
        op: part.name().to_owned(),
        pass: "whole",
        shape: batch.to_string(),
        attributes: String::new(),
        part: part.name(),
        uses: 1,
        kernels: whole.launches()?,
        memory: "model",
        cost: whole.cost,
        in_half: host.dtype != DType::F32,
        error,
        checked: error.map(|_| if whole.cost.flops > CHECKABLE { Yardstick::Cpu } else { Yardstick::F64 }),
    };
    Ok(Row::new(measured, &samples, peaks, host))
}

/// A graph on a device.
pub struct Whole {
    store: Store,
    session: Session,
    cost: Cost,
    segments: &'static [Segment],
}

impl Whole {
    /// Fills its tensors.
    ///
    /// # Errors
    /// Those of the model's builders and of the device.
    pub fn new(config: &EscnetConfig, part: Part, batch: usize, device: &Device, dtype: DType) -> Result<Self> {
        let graph = prepare(build(config, part, batch)?, &rules(), dtype)?;
        let running = |segment| graph.nodes().iter().filter(move |node| node.segment == segment && !node.op.is_view());
        let cost = [Segment::Run, Segment::Apply].into_iter().flat_map(running).map(|node| graph.cost(node));
        let cost = cost.fold(Cost::default(), |sum, cost| Cost { flops: sum.flops + cost.flops, bytes: sum.bytes + cost.bytes });
        let segments: &[Segment] = if running(Segment::Apply).next().is_some() { &[Segment::Run, Segment::Apply] } else { &[Segment::Run] };
        let (store, session) = filled(graph, config, device, Options::default())?;
        Ok(Whole { store, session, cost, segments })
    }

    /// Runs it once, updates of parameters included.
    ///
    /// # Errors
    /// Those of [`Session::run_clocked`].
    pub fn run(&mut self) -> Result<Clocked> {
        let none = Clocked { host: std::time::Duration::ZERO, device: Some(std::time::Duration::ZERO) };
        self.segments.iter().try_fold(none, |sum, &segment| {
            let Clocked { host, device } = self.session.run_clocked(&mut self.store, segment)?;
            Ok(Clocked { host: sum.host + host, device: sum.device.zip(device).map(|(sum, device)| sum + device) })
        })
    }

    /// How many kernels a run launches; nothing on the CPU.
    fn launches(&mut self) -> Result<String> {
        let launches: usize = self.session.times()?.iter().map(|node| node.kernels.len()).sum();
        Ok(if launches == 0 { String::new() } else { format!("{launches} launches") })
    }

    /// Compares its results with those of the plain f64 code on the same numbers; where that would take minutes, a GPU's with the CPU's in f32, and the CPU's with
    /// none. To be called before any other run, since state moves on. Gives the largest error.
    fn check(&mut self, config: &EscnetConfig, part: Part) -> Result<Option<f64>> {
        let yardstick = match (self.cost.flops > CHECKABLE, self.store.device().name()) {
            (false, _) => Device::reference()?,
            (true, "cpu") => return Ok(None),
            (true, _) => Device::cpu(0)?,
        };
        let graph = self.session.graph().clone();
        let (results, limit) = (results(&graph), limit(computed_in(graph.values().map(|(_, info)| info.ty))));
        let (mut store, mut session) = filled(graph, config, &yardstick, Options::default())?;
        session.run(&mut store, Segment::Run)?;
        self.session.run(&mut self.store, Segment::Run)?;
        let mut worst: f64 = 0.0;
        for (name, ty, is_state) in results {
            let read = |session: &Session, store: &mut Store| if is_state { store.read_f64(&name) } else { session.read_f64(&name, store) };
            let (got, want) = (read(&self.session, &mut self.store)?, read(&session, &mut store)?);
            let compared = compare(name.clone(), &got, &want, None, limit, ty.dtype, 0.0);
            if !compared.passed() {
                return Err(Error::graph(part.name(), format!("an error of at most {} in {name}", compared.limit), compared.error));
            }
            worst = worst.max(compared.error);
        }
        Ok(Some(worst))
    }
}

/// What a run of it leaves, integers aside, which change places where rounding makes numbers equal: results, caches, and the scores of a search.
fn results(graph: &Graph) -> Vec<(String, TensorType, bool)> {
    let updated = graph.updated();
    let kept = graph.states().filter(|(v, _, kind)| matches!(kind, StateKind::Cache | StateKind::Control) && updated[v.index()]);
    let kept = kept.map(|(_, info, _)| (info.name.clone(), info.ty, true));
    let outputs = graph.outputs().iter().filter(|(_, v)| !matches!(graph.info(*v).source, Source::State(_)));
    let outputs = outputs.map(|(name, v)| (name.clone(), graph.ty(*v), false));
    outputs.chain(kept).filter(|(_, ty, _)| ty.dtype != DType::I32).collect()
}

#[cfg(test)]
mod tests {
    use super::super::parts::model;
    use super::*;
    use crate::infer::inspect::Stage;
    use crate::tensor::Tensor;

    const PARTS: [Part; 8] = [
        Part::Inference(Stage::Classify),
        Part::Inference(Stage::CaptionEncode),
        Part::Inference(Stage::CaptionStep),
        Part::Backbone,
        Part::TextEncode,
        Part::Fusion,
        Part::TrainCaption,
        Part::TrainClassify,
    ];

    #[test]
    fn every_graph_is_checked_and_runs() -> Result<()> {
        let config = model("escnet-tiny")?;
        for (part, dtype) in PARTS.into_iter().flat_map(|part| [(part, DType::F32), (part, DType::BF16)]) {
            let mut whole = Whole::new(&config, part, 2, &Device::cpu(2)?, dtype)?;
            assert!(!results(whole.session.graph()).is_empty(), "{} has nothing to be checked by", part.name());
            let error = whole.check(&config, part)?.unwrap_or(f64::NAN);
            // Of stored halves each may be rounded to the very same.
            let is_likely = if dtype == DType::F32 { error > 0.0 && error < 1e-4 } else { error < 0.2 };
            assert!(is_likely, "{} {dtype}: {error}", part.name());
            assert!(whole.run()?.host > std::time::Duration::ZERO && whole.cost.flops > 0);
        }
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_not_measured() -> Result<()> {
        let config = model("escnet-tiny")?;
        let mut whole = Whole::new(&config, Part::Fusion, 2, &Device::cpu(1)?, DType::F32)?;
        let ty = whole.session.graph().inputs().find(|(_, info)| info.name == "text").map(|(_, info)| info.ty).expect("an input");
        whole.session.write("text", &Tensor::zeros(ty))?;
        assert!(whole.check(&config, Part::Fusion).is_err());
        Ok(())
    }
}
