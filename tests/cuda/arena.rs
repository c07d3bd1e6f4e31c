//! A session's memory is one allocation, or as many as it has buffers. The stand-in reads how much memory it has when it is loaded, so every case is a process.

use super::probe::{fault, is_simulated, said};
use escnet::graph::{Builder, Graph, Options, Segment, Session, Store};
use escnet::ops::matmul::matmul;
use escnet::{Device, Error, Result, Tensor, TensorType};

/// A product with buffers of 512, 512 and 16 KiB, and 128 KiB of scratch: the sums of 8 parts of K.
fn product() -> Result<Graph> {
    let mut b = Builder::new();
    let (x, y) = (b.input("x", TensorType::f32([64, K]))?, b.input("y", TensorType::f32([K, 64]))?);
    let z = matmul(&mut b, x, y)?;
    b.output("z", z);
    Ok(b.finish())
}

const K: usize = 2048;
const SLOTS: usize = (512 + 512 + 16) << 10;
const SCRATCH: usize = 128 << 10;

#[test]
#[ignore = "run by the other test, with the kind of session"]
fn one() {
    let Some(kind) = fault() else { return };
    let device = Device::cuda(None).unwrap();
    let mut store = Store::new(&device);
    let session = Session::new(product().unwrap(), &mut store, Options { checked: kind == "checked", ..Options::default() });
    let mut session = match session {
        Err(Error::OutOfMemory { bytes, .. }) => return println!("said: {bytes} bytes are too many"),
        session => session.unwrap(),
    };
    let ones = |shape| Tensor::from_f32(shape, vec![1.0; 64 * K]).unwrap();
    session.write("x", &ones([64, K])).unwrap();
    session.write("y", &ones([K, 64])).unwrap();
    session.run(&mut store, Segment::Run).unwrap();
    let z = session.read("z", &mut store).unwrap().to_f32();
    assert!(z.iter().all(|&z| z == K as f32), "{z:?}");
    println!("said: {}", session.plan().peak_bytes);
}

#[test]
fn memory_is_there_for_all_of_a_session_or_for_nothing() {
    if !is_simulated() {
        return;
    }
    let with = |kind, kibibytes: usize| said("arena::one", kind, &[("CUDA_ON_CPU_MEMORY", &(kibibytes << 10).to_string())]);
    // The scratch memory would not fit. Of one allocation nothing does; of several, with a band of 256 bytes behind each, that is what is missing.
    assert_eq!(with("plain", 1100), format!("{} bytes are too many", SLOTS + SCRATCH));
    assert_eq!(with("checked", 1100), format!("{} bytes are too many", SCRATCH + 256));
    assert_eq!(with("plain", 1200), SLOTS.to_string());
}
