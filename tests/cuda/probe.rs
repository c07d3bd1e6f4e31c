//! Kernels that only tests run: one node that launches what it is told to. A fault ends the use of the device, so kernels that are wrong have processes of their own.

use super::{is_required, nvrtc};
use escnet::device::cpu::Args;
use escnet::device::cuda::build::ARCHS;
use escnet::device::cuda::nvrtc::{OPTIONS, Target};
use escnet::device::cuda::source::{HEADERS, Source};
use escnet::device::cuda::{Dispatch, Image, Launch, Operand};
use escnet::graph::{Builder, Options, Segment, Session, Store};
use escnet::op::{Cost, Op};
use escnet::{Device, Error, Result, Tensor, TensorType};
use std::fmt::{self, Debug, Formatter};
use std::process::Command;
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
    run_with(Options { checked: true, ..Options::default() }, device, inputs, outputs, tell)
}

/// The same in a session with these options.
pub fn run_with(
    options: Options,
    device: &Device,
    inputs: &[Tensor],
    outputs: &[TensorType],
    tell: impl Fn(&mut Launch) + Send + Sync + 'static,
) -> Result<Vec<Tensor>> {
    let mut b = Builder::new();
    let values = inputs.iter().enumerate().map(|(i, tensor)| b.input(&format!("x{i}"), tensor.ty())).collect::<Result<Vec<_>>>()?;
    let results = b.apply(Probe { outputs: outputs.to_vec(), tell: Arc::new(tell) }, &values)?;
    results.iter().enumerate().for_each(|(i, y)| b.output(&format!("y{i}"), *y));
    let mut store = Store::new(device);
    let mut session = Session::new(b.finish(), &mut store, options)?;
    for (i, tensor) in inputs.iter().enumerate() {
        session.write(&format!("x{i}"), tensor)?;
    }
    session.run(&mut store, Segment::Run)?;
    (0..outputs.len()).map(|i| session.read(&format!("y{i}"), &mut store)).collect()
}

/// What a kernel makes of these tensors in one block: it is given all of them, the output, and what `finish` adds, which says of how many threads the block is.
pub fn once(
    device: &Device,
    image: &'static Image,
    kernel: &str,
    inputs: &[Tensor],
    output: TensorType,
    finish: impl Fn(Dispatch) -> Dispatch + Send + Sync + 'static,
) -> Result<Tensor> {
    let kernel = kernel.to_owned();
    let mut outputs = run(device, inputs, &[output], move |launch| {
        let inputs = (0..launch.inputs()).map(Operand::Input);
        launch.add(finish(Dispatch::new(image, &kernel).tensors(inputs).tensors([Operand::Output(0)])));
    })?;
    Ok(outputs.remove(0))
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

/// NVRTC takes the file for every architecture that there are images for.
pub fn compiles_everywhere(image: &Image) {
    let Some(nvrtc) = nvrtc() else { return };
    let source = Source::new(image.stem, image.source, HEADERS);
    for arch in ARCHS {
        nvrtc.compile(&source, Target::Cubin(arch), &OPTIONS).unwrap();
    }
}

/// Whether the stand-in is there; it must be where devices are required.
pub fn is_simulated() -> bool {
    let found = Device::cuda_simulated();
    match &found {
        Err(e) if is_required() => panic!("{e}"),
        Err(e) => println!("left out: {e}"),
        Ok(_) => {}
    }
    found.is_ok()
}

/// Which kernel the process is for.
const FAULT: &str = "ESCNET_TEST_FAULT";

/// The kernel that the process is for, where it is for one.
pub fn fault() -> Option<String> {
    std::env::var(FAULT).ok()
}

/// What the ignored test of this name says of a kernel, behind "said: ".
pub fn said(test: &str, kernel: &str, settings: &[(&str, &str)]) -> String {
    let text = told(test, kernel, settings);
    text.lines().find_map(|line| line.strip_prefix("said: ")).unwrap_or_else(|| panic!("{kernel}: {text}")).to_owned()
}

/// All that it tells, and the stand-in with it.
pub fn told(test: &str, kernel: &str, settings: &[(&str, &str)]) -> String {
    let mut program = Command::new(std::env::current_exe().unwrap());
    let program = program.args(["--exact", test, "--ignored", "--nocapture"]).env(FAULT, kernel);
    let out = program.envs(settings.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{kernel}: {text}");
    text
}
