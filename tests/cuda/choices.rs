//! What was measured on a device is what operators use there, and nowhere else.

use super::Scratch;
use super::probe::is_simulated;
use escnet::device::cuda::Choices;
use escnet::graph::{Builder, Graph, Options, Segment, Session, Store};
use escnet::ops::matmul::matmul;
use escnet::{DType, Device, Error, Result, TensorType};

fn product() -> Result<Graph> {
    let mut b = Builder::new();
    let ty = TensorType::new(DType::F16, [64, 64]);
    let (x, y) = (b.input("x", ty)?, b.input("y", ty)?);
    let product = matmul(&mut b, x, y)?;
    b.output("product", product);
    Ok(b.finish())
}

/// The kernel that a session on the device launches for the product.
fn kernel(device: &Device) -> Result<String> {
    let mut store = Store::new(device);
    let mut session = Session::new(product()?, &mut store, Options { timed: true, ..Options::default() })?;
    session.run(&mut store, Segment::Run)?;
    Ok(session.times()?[0].kernels[0].entry.clone())
}

fn signature() -> Result<String> {
    let graph = product()?;
    let node = &graph.nodes()[0];
    Ok(node.op.signature(&node.inputs.iter().map(|&v| graph.ty(v)).collect::<Vec<_>>()))
}

#[test]
fn a_choice_is_used_for_its_signature_alone() -> Result<()> {
    if !is_simulated() {
        return Ok(());
    }
    let rule = kernel(&Device::cuda(None)?)?;
    assert!(rule.contains("mma") || rule.contains("skinny"), "{rule}");
    let device = Device::cuda(None)?;
    let gpu = device.cuda_gpu().expect("it is CUDA's");
    let mut choices = Choices::new(gpu);
    choices.variants.insert(signature()?.replace("64, 64", "64, 72"), "exact".to_owned());
    gpu.choose_by(choices.clone())?;
    assert_eq!(kernel(&device)?, rule, "another product's");
    choices.variants.insert(signature()?, "exact".to_owned());
    gpu.choose_by(choices.clone())?;
    assert_eq!(kernel(&device)?, "matmul_forward_nn_f16");
    choices.variants.insert(signature()?, "a variant that is not there".to_owned());
    gpu.choose_by(choices)?;
    assert_eq!(kernel(&device)?, rule, "what is not there is not used");
    Ok(())
}

#[test]
fn choices_for_another_device_or_other_kernels_are_refused() -> Result<()> {
    if !is_simulated() {
        return Ok(());
    }
    let device = Device::cuda(None)?;
    let gpu = device.cuda_gpu().expect("it is CUDA's");
    let own = Choices::new(gpu);
    for other in [
        Choices { device: "another".to_owned(), ..own.clone() },
        Choices { driver: "11.0".to_owned(), ..own.clone() },
        Choices { kernels: "0".to_owned(), ..own.clone() },
    ] {
        assert_ne!(other.file_name(), own.file_name());
        assert!(matches!(gpu.choose_by(other), Err(Error::Device { .. })));
    }
    gpu.choose_by(own)
}

#[test]
fn choices_of_the_folder_of_caches_are_taken_and_damaged_ones_are_not() -> Result<()> {
    if !is_simulated() {
        return Ok(());
    }
    let folder = Scratch::new();
    let rule = kernel(&Device::cuda(None)?)?;
    let device = Device::cuda(None)?;
    let mut choices = Choices::new(device.cuda_gpu().expect("it is CUDA's"));
    choices.variants.insert(signature()?, "exact".to_owned());
    let file = folder.0.join(choices.file_name());
    choices.write(&file)?;
    assert_eq!(Choices::read(&file)?, choices);
    device.keep_pipelines(&folder.0);
    assert_eq!(kernel(&device)?, "matmul_forward_nn_f16");

    std::fs::write(&file, "{").map_err(|e| Error::Io { path: file.clone(), source: e })?;
    assert!(matches!(Choices::read(&file), Err(Error::Config { .. })));
    let device = Device::cuda(None)?;
    device.keep_pipelines(&folder.0);
    assert_eq!(kernel(&device)?, rule);
    Ok(())
}
