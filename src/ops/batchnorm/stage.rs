//! Running statistics, staged: `staged = (1 - momentum) previous + momentum batch`.
//!
//! The previous value is the running one in the first micro-step of an optimizer step, and what was staged before in the others. The
//! running statistics themselves are untouched until the optimizer commits the step.

use super::CHECK;
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Launch;
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::op::{Cost, Op};
use crate::tensor::TensorType;

/// Inputs: staged (state, updated), running, batch \[C\], micro_step i32\[1\]. No outputs.
#[derive(Debug, Clone, Copy)]
pub struct StageStatistics {
    /// The weight of the new value.
    pub momentum: f64,
}

/// Updates the state `staged` by one batch's statistic.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match, [`crate::Error::Graph`] where `staged` is not state.
pub fn stage_statistics(b: &mut Builder, staged: Value, running: Value, batch: Value, momentum: f64, micro_step: Value) -> Result<()> {
    b.apply(StageStatistics { momentum }, &[staged, running, batch, micro_step]).map(|_| ())
}

impl Op for StageStatistics {
    fn stem(&self) -> &'static str {
        "batchnorm"
    }

    fn pass(&self) -> &'static str {
        "stage"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        CHECK.count(inputs, 4)?;
        CHECK.float("staged", &inputs[0])?;
        CHECK.shape("running", &inputs[1], &inputs[0].shape)?;
        CHECK.shape("batch", &inputs[2], &inputs[0].shape)?;
        CHECK.int("micro_step", &inputs[3])?;
        CHECK.shape("micro_step", &inputs[3], &[1])?;
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        Cost::streaming(3 * inputs[0].len() as u64, inputs, &inputs[..1])
    }

    fn updates(&self) -> Vec<usize> {
        vec![0]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        super::cuda::stage(self, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        self.launch(launch);
        Ok(())
    }
}

impl StageStatistics {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (staged, running, batch, micro_step) = (args.state(0)?, args.floats(1)?, args.floats(2)?, args.ints(3)?);
        if micro_step.first() == Some(&0) {
            staged.copy_from_slice(running);
        }
        let (keep, take) = (T::of(1.0 - self.momentum), T::of(self.momentum));
        staged.iter_mut().zip(batch).for_each(|(s, &batch)| *s = keep * *s + take * batch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::graph::{Options, Segment, Session, StateKind, Store};
    use crate::tensor::Tensor;

    #[test]
    fn the_first_micro_step_starts_from_the_running_value_and_the_others_go_on() -> Result<()> {
        let mut b = Builder::new();
        let one = TensorType::f32([1]);
        let staged = b.global_state("staged", one, StateKind::Cache)?;
        let (running, batch) = (b.input("running", one)?, b.input("batch", one)?);
        let micro_step = b.input("micro_step", TensorType::i32([1]))?;
        stage_statistics(&mut b, staged, running, batch, 0.25, micro_step)?;
        let mut store = Store::new(&Device::cpu(1)?);
        let mut session = Session::new(b.finish(), &mut store, Options::default())?;
        session.write("running", &Tensor::from_f32([1], vec![4.0])?)?;
        let mut seen = Vec::new();
        for (micro_step, batch) in [(0, 8.0), (1, 1.0), (2, 0.0), (0, 0.0)] {
            session.write("batch", &Tensor::from_f32([1], vec![batch])?)?;
            session.write("micro_step", &Tensor::from_i32([1], vec![micro_step])?)?;
            session.run(&mut store, Segment::Run)?;
            seen.extend(store.read("staged")?.to_f32());
        }
        assert_eq!(seen, [5.0, 4.0, 3.0, 3.0]);
        Ok(())
    }
}
