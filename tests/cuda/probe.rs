//! Kernels that only tests run: one node that launches what it is told to.

use escnet::device::cpu::Args;
use escnet::device::cuda::Launch;
use escnet::graph::{Builder, Options, Segment, Session, Store};
use escnet::op::{Cost, Op};
use escnet::{Device, Error, Result, Tensor, TensorType};
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

type Tell = Arc<dyn Fn(&mut Launch) + Send + Sync>;

#[derive(Clone)]
struct Probe {
    outputs: Vec<TensorType>,
    tell: Tell,
}

impl Debug for Probe {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "Probe({:?})", self.outputs)
    }
}

impl Op for Probe {
    fn stem(&self) -> &'static str {
        "probe"
    }

    fn infer(&self, _: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(self.outputs.clone())
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }

    fn reference(&self, _: &mut Args<f64>) -> Result<()> {
        Err(Error::graph("probe", "a device with kernels", "the CPU"))
    }

    fn cpu(&self, _: &mut Args<f32>) -> Result<()> {
        Err(Error::graph("probe", "a device with kernels", "the CPU"))
    }

    fn cuda(&self, launch: &mut Launch) -> Result<()> {
        (self.tell)(launch);
        Ok(())
    }
}

/// What the launches leave in outputs of these types.
pub fn run(device: &Device, inputs: &[Tensor], outputs: &[TensorType], tell: impl Fn(&mut Launch) + Send + Sync + 'static) -> Result<Vec<Tensor>> {
    let mut b = Builder::new();
    let values = inputs.iter().enumerate().map(|(i, tensor)| b.input(&format!("x{i}"), tensor.ty())).collect::<Result<Vec<_>>>()?;
    let results = b.apply(Probe { outputs: outputs.to_vec(), tell: Arc::new(tell) }, &values)?;
    results.iter().enumerate().for_each(|(i, y)| b.output(&format!("y{i}"), *y));
    let mut store = Store::new(device);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    for (i, tensor) in inputs.iter().enumerate() {
        session.write(&format!("x{i}"), tensor)?;
    }
    session.run(&mut store, Segment::Run)?;
    (0..outputs.len()).map(|i| session.read(&format!("y{i}"), &mut store)).collect()
}
