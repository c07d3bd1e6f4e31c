//! What a device is: its number, its choice, its precision, its clock, its end.

use super::{Outcome, check, small};
use escnet::device::wgpu::{AdapterKind, adapters};
use escnet::graph::{Builder, NodeTime, Options, Segment, Session, Store};
use escnet::ops::{relu::relu, softmax::softmax};
use escnet::{DType, Device, Error, Tensor, TensorType};

pub fn adapters_are_numbered() -> Outcome {
    let found = adapters();
    check(!found.is_empty() && found.iter().enumerate().all(|(i, a)| a.index == i && !a.name.is_empty()), format!("{found:?}"))
}

pub fn wrong_number() -> Outcome {
    match Device::parse("wgpu:99", 0, DType::F32) {
        Err(Error::Device { device, reason }) if device == "wgpu:99" && reason.contains("there are") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

pub fn auto() -> Outcome {
    let device = Device::parse("auto", 1, DType::F32)?;
    if adapters().iter().any(|a| a.kind != AdapterKind::Software) {
        return check(["cuda", "wgpu"].contains(&device.name()), device.describe());
    }
    check(device.name() == "cpu" && device.note().is_some_and(|n| n.contains("no GPU")), format!("{device:?}"))
}

/// bf16 on none, f16 on those that have it; and there kernels do store numbers so.
pub fn half_precision() -> Outcome {
    match Device::parse("wgpu", 0, DType::BF16) {
        Err(Error::Device { reason, .. }) if reason.contains("bf16") => {}
        other => return Err(format!("{other:?}").into()),
    }
    let device = match Device::parse("wgpu", 0, DType::F16) {
        Err(Error::Device { reason, .. }) if reason.contains("f16") => return Ok(()),
        other => other?,
    };
    let mut b = Builder::new();
    let x = b.input("x", TensorType::new(DType::F16, [3]))?;
    let y = relu(&mut b, x)?;
    b.output("y", y);
    let mut store = Store::new(&device);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    session.write("x", &Tensor::from_f32([3], vec![-1.0, 1.0 + 1.0 / 4096.0, 65504.0])?)?;
    session.run(&mut store, Segment::Run)?;
    let y = session.read("y", &mut store)?.to_f32();
    check(y == [0.0, 1.0, 65504.0], format!("{y:?}"))?;
    let kernels = device.gpu().ok_or("no GPU")?.kernels();
    check(kernels.len() == 1 && kernels[0].source.contains("alias Real = f16"), format!("{kernels:?}"))
}

pub fn timed() -> Outcome {
    let run = |options: Options| -> escnet::Result<_> {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::f32([100, 1000]))?;
        let y = softmax(&mut b, x)?;
        let z = softmax(&mut b, y)?;
        b.output("z", z);
        let mut store = Store::new(&Device::wgpu(None)?);
        let mut session = Session::new(b.finish(), &mut store, options)?;
        session.write("x", &Tensor::from_f32([100, 1000], (0..100_000).map(|i| (i % 37) as f32 / 9.0).collect())?)?;
        session.run(&mut store, Segment::Run)?;
        Ok((session.read("z", &mut store)?.to_f32(), session.times()?))
    };
    let (plain, no_times) = run(Options::default())?;
    let (same, times) = run(Options { timed: true, ..Options::default() })?;
    check(plain == same, "other results")?;
    check(no_times.iter().all(|t| t.time.is_zero()) && times.len() == 2, format!("{no_times:?}"))?;
    let told = |t: &NodeTime| !t.time.is_zero() && t.runs == 1 && t.kernels.iter().all(|k| k.source.contains(&k.entry)) && !t.kernels.is_empty();
    check(times.iter().all(told), format!("{times:?}"))
}

/// More than any device has.
pub fn out_of_memory() -> Outcome {
    let n = 1 << 44;
    match small(n, Options::default()) {
        Err(Error::OutOfMemory { bytes, device }) => check(bytes == 4 * n as u64 && device.contains("wgpu"), format!("{device}: {bytes}")),
        Err(other) => Err(other.into()),
        Ok(_) => Err("eight gigabytes in one buffer".into()),
    }
}

pub fn closed() -> Outcome {
    let (mut session, mut store) = small(10, Options::default())?;
    session.write("x", &Tensor::from_f32([10], vec![1.0; 10])?)?;
    session.run(&mut store, Segment::Run)?;
    check(session.read("y", &mut store)?.to_f32() == [1.0; 10], "another sum")?;
    let device = store.device().clone();
    device.gpu().ok_or("no GPU")?.close();
    let outcomes = [
        session.write("x", &Tensor::from_f32([10], vec![1.0; 10])?),
        session.run(&mut store, Segment::Run),
        session.read("y", &mut store).map(drop),
        Session::new(session.graph().clone(), &mut Store::new(&device), Options::default()).map(drop),
    ];
    match outcomes.iter().find(|o| !matches!(o, Err(Error::Device { .. }))) {
        None => Ok(()),
        Some(other) => Err(format!("{other:?}").into()),
    }
}
