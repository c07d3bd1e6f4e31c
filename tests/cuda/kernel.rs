//! Kernels that only tests run: an operator around one of them.

use super::{is_required, nvrtc};
use escnet::device::cpu::Args;
use escnet::device::cuda::build::ARCHS;
use escnet::device::cuda::nvrtc::{OPTIONS, Target};
use escnet::device::cuda::source::{HEADERS, Source};
use escnet::device::cuda::{Dispatch, Image, Launch, Operand};
use escnet::graph::{Builder, Options, Segment, Session, Store};
use escnet::op::{Cost, Op};
use escnet::{Device, Error, Result, Tensor, TensorType};
use std::fmt;

/// One launch: what it is given is all inputs, then the output, then what `finish` adds.
struct Once<F> {
    image: &'static Image,
    kernel: String,
    output: TensorType,
    finish: F,
}

impl<F> fmt::Debug for Once<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kernel)
    }
}

impl<F: Fn(Dispatch) -> Dispatch + Send + Sync + 'static> Op for Once<F> {
    fn stem(&self) -> &'static str {
        self.image.stem
    }

    fn infer(&self, _: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![self.output])
    }

    fn cost(&self, _: &[TensorType], _: &[TensorType]) -> Cost {
        Cost::default()
    }

    fn reference(&self, _: &mut Args<f64>) -> Result<()> {
        Err(Error::graph(&self.kernel, "CUDA", "another device"))
    }

    fn cpu(&self, _: &mut Args<f32>) -> Result<()> {
        Err(Error::graph(&self.kernel, "CUDA", "another device"))
    }

    fn cuda(&self, launch: &mut Launch) -> Result<()> {
        let inputs = (0..launch.inputs()).map(Operand::Input);
        let dispatch = Dispatch::new(self.image, &self.kernel).tensors(inputs).tensors([Operand::Output(0)]);
        launch.add((self.finish)(dispatch));
        Ok(())
    }
}

/// The device; none where there is none and none is required.
pub fn device() -> Option<Device> {
    match Device::cuda(None) {
        Ok(device) => Some(device),
        Err(e) if is_required() => panic!("{e}"),
        Err(e) => {
            println!("left out: {e}");
            None
        }
    }
}

/// What a kernel makes of these tensors in one block, once `finish` has said of how many threads, and what else the kernel is given.
pub fn run(
    device: &Device,
    image: &'static Image,
    kernel: &str,
    inputs: &[Tensor],
    output: TensorType,
    finish: impl Fn(Dispatch) -> Dispatch + Send + Sync + 'static,
) -> Result<Tensor> {
    let mut b = Builder::new();
    let named: Vec<(String, &Tensor)> = inputs.iter().enumerate().map(|(i, tensor)| (i.to_string(), tensor)).collect();
    let values = named.iter().map(|(name, tensor)| b.input(name, tensor.ty())).collect::<Result<Vec<_>>>()?;
    let y = b.apply1(Once { image, kernel: kernel.to_owned(), output, finish }, &values)?;
    b.output("y", y);
    let mut store = Store::new(device);
    let mut session = Session::new(b.finish(), &mut store, Options { checked: true, ..Options::default() })?;
    named.iter().try_for_each(|(name, tensor)| session.write(name, tensor))?;
    session.run(&mut store, Segment::Run)?;
    session.read("y", &mut store)
}

/// NVRTC takes the file for every architecture that there are images for.
pub fn compiles_everywhere(image: &Image) {
    let Some(nvrtc) = nvrtc() else { return };
    let source = Source::new(image.stem, image.source, HEADERS);
    for arch in ARCHS {
        nvrtc.compile(&source, Target::Cubin(arch), &OPTIONS).unwrap();
    }
}
