//! Tensors that are written, and read back, while the device works. The stand-in leaves open when copies are done, by a seed that it reads when it is loaded, so
//! every case is a process.

use super::probe::{fault, is_simulated, told};
use escnet::graph::{Builder, Graph, Options, Segment, Session, StateKind, Store};
use escnet::ops::accumulate::accumulate;
use escnet::{Device, Result, Tensor, TensorType};

/// More than what the driver puts aside, so that each goes through a piece of its own: of these there are 8.
const LEN: usize = 20_000;
/// Three times through all pieces.
const STEPS: usize = 24;
/// Copies as late as can be, as early as may be, and by dice.
const SEEDS: [&str; 4] = ["0", "1", "2", "3"];

fn numbers(step: usize) -> Vec<f32> {
    (0..LEN).map(|i| ((step + 1) as f32 * 0.37 + i as f32 * 0.11).sin()).collect()
}

fn summing() -> Result<Graph> {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([LEN]))?;
    let control = b.state("control", TensorType::i32([4]), StateKind::Control)?;
    let sum = b.state("sum", TensorType::f32([LEN]), StateKind::Gradient)?;
    accumulate(&mut b, sum, x, control, None)?;
    Ok(b.finish())
}

/// Adds up tensors by two sessions in turn, each of which is replaced while nobody has waited for anything; or waits behind each.
fn sum(device: &Device, options: Options, waits: bool) -> Result<Vec<u32>> {
    let mut store = Store::new(device);
    let mut sessions = [Session::new(summing()?, &mut store, options)?, Session::new(summing()?, &mut store, options)?];
    for step in 0..STEPS {
        let session = &mut sessions[step % 2];
        session.write("x", &Tensor::from_f32([LEN], numbers(step))?)?;
        store.write("control", &Tensor::from_i32([4], vec![0, 0, 0, step as i32])?)?;
        session.run(&mut store, Segment::Run)?;
        if waits {
            store.read("sum")?;
        }
    }
    Ok(store.read("sum")?.to_f32().into_iter().map(f32::to_bits).collect())
}

/// The sums are those of the host, to the bit, with a wait behind each step and without.
fn sums(device: &Device, options: Options) -> Result<()> {
    let mut right = vec![0.0_f32; LEN];
    for step in 0..STEPS {
        right.iter_mut().zip(numbers(step)).for_each(|(sum, x)| *sum += x);
    }
    let right: Vec<u32> = right.into_iter().map(f32::to_bits).collect();
    for waits in [false, true] {
        let sum = sum(device, options, waits)?;
        let wrong = (0..LEN).find(|&i| sum[i] != right[i]);
        assert_eq!(wrong.map(|i| (i, f32::from_bits(sum[i]), f32::from_bits(right[i]))), None, "waits: {waits}");
    }
    Ok(())
}

/// Tensors of two pieces and some more are written one behind another, and read back.
fn come_back(device: &Device) -> Result<()> {
    const LONG: usize = (2 << 20) + 5;
    let mut b = Builder::new();
    for name in ["x", "y"] {
        let x = b.input(name, TensorType::i32([LONG]))?;
        b.output(name, x);
    }
    let mut store = Store::new(device);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    let numbers = |from: i32| (from..).take(LONG).collect::<Vec<_>>();
    session.write("x", &Tensor::from_i32([LONG], numbers(0))?)?;
    session.write("y", &Tensor::from_i32([LONG], numbers(7))?)?;
    for (name, from) in [("y", 7), ("x", 0)] {
        let back = session.read(name, &mut store)?;
        assert!(back.as_i32() == Some(&numbers(from)[..]), "another {name} came back");
    }
    Ok(())
}

/// All is let go of while a copy is under way, the device before the memory it has.
fn let_go(device: Device) -> Result<()> {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([LEN]))?;
    b.output("x", x);
    let mut store = Store::new(&device);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    session.write("x", &Tensor::from_f32([LEN], numbers(0))?)?;
    drop((device, store));
    drop(session);
    Ok(())
}

#[test]
#[ignore = "run by the other tests, which say what of it"]
fn one() {
    let Some(kind) = fault() else { return };
    let device = Device::cuda(None).unwrap();
    match &*kind {
        "sums" => sums(&device, Options::default()),
        "checked sums" => sums(&device, Options { checked: true, ..Options::default() }),
        "come back" => come_back(&device),
        _ => let_go(device),
    }
    .unwrap();
}

/// All cases are right with these settings, and the stand-in has nothing to say.
fn are_right(kinds: &[&str], settings: &[(&str, &str)]) {
    for kind in kinds {
        let text = told("uploads::one", kind, settings);
        assert!(text.contains("1 passed") && !text.contains("cuda_on_cpu:"), "{kind}, {settings:?}: {text}");
    }
}

#[test]
fn what_is_written_while_the_device_works_waits_for_its_turn() {
    if !is_simulated() {
        return;
    }
    for seed in SEEDS {
        are_right(&["sums", "checked sums", "come back", "let go"], &[("CUDA_ON_CPU_SEED", seed)]);
    }
}

#[test]
fn where_no_memory_is_left_for_pieces_tensors_are_copied_without() {
    if !is_simulated() {
        return;
    }
    // Two tensors of 8 MiB, and room for no piece of 4 MiB, for one, for two. The host's are first those that tensors are written through.
    for mebibytes in [17_usize, 21, 25] {
        are_right(&["come back"], &[("CUDA_ON_CPU_MEMORY", &(mebibytes << 20).to_string())]);
    }
    for pieces in [0_usize, 1, 7] {
        are_right(&["come back"], &[("CUDA_ON_CPU_LOCKED", &(pieces << 22).to_string())]);
    }
}
