//! What the stand-in, `checked`, tells of kernels for sm_90a: each of `kernels/hopper_faults.cu` is wrong in one way, or is given a wrong map, and
//! `tests/faults/told` says what is told of it. A fault ends the use of the device, so each has a process of its own.

use super::probe::{self, fault, is_simulated};
use super::told::{self, Wrong};
use escnet::device::cuda::{Dispatch, Image, Operand, Swizzle, TensorMap, Tile};
use escnet::{DType, Device, Tensor, TensorType};
use half::bf16;

static IMAGE: Image = Image { stem: "hopper_faults", source: include_str!("kernels/hopper_faults.cu"), fatbin: &[] };
const K: usize = 320;

/// A factor [64, K], two numbers a word, and as integers.
fn factor(seed: usize) -> (Tensor, Vec<i32>) {
    let numbers: Vec<i32> = (0..64 * K).map(|i| (((i + seed) * 2_654_435_761) >> 9) as i32 % 7 - 3).collect();
    let bits = |x: i32| i32::from(bf16::from_f32(x as f32).to_bits());
    let words = numbers.chunks(2).map(|two| bits(two[0]) | bits(two[1]) << 16).collect();
    (Tensor::from_i32([32 * K], words).unwrap(), numbers)
}

/// Run by the other test, in a process for each kernel; by itself it has no kernel to run.
#[test]
#[ignore = "run by the other test, with a kernel's name"]
fn one() {
    let Some(name) = fault() else { return };
    if let Some(name) = name.strip_prefix("pixels_") {
        return pixels(name);
    }
    let ((a, of_a), (b, of_b)) = (factor(1), factor(2));
    let sum = |i: usize| (0..K).map(|k| (of_a[i / 64 * K + k] * of_b[i % 64 * K + k]) as f32).sum::<f32>();
    let map = |input| TensorMap {
        operand: Operand::Input(input),
        dtype: DType::BF16,
        dims: vec![K, 64],
        strides: vec![2 * K],
        tile: Tile::Box(vec![64, if name == "map_box" { 32 } else { 64 }]),
        swizzle: if name == "map_swizzle" { Swizzle::None } else { Swizzle::Bytes128 },
    };
    let (dims, strides, tile) = (vec![64, 64], vec![256], Tile::Box(vec![64, 64]));
    let out = TensorMap { operand: Operand::Output(0), dtype: DType::F32, dims, strides, tile, swizzle: Swizzle::None };
    let kernel = format!("hopper_fault_{}", if name.starts_with("map_") || name == "older_device" { "none" } else { &name });
    let dispatch = Dispatch::new(&IMAGE, kernel).block(256).shared(65_536).tensor_map(map(0)).tensor_map(map(1)).tensor_map(out);
    let dispatch = dispatch.word((K / 64) as u32);
    let y = probe::run(&Device::cuda_simulated().unwrap(), &[a, b], &[TensorType::f32([64, 64])], move |launch| launch.add(dispatch.clone()));
    let same = |y: &[Tensor]| y[0].as_f32().unwrap().iter().enumerate().all(|(i, &y)| y == sum(i));
    println!("said: {}", y.map_or_else(|e| e.to_string(), |y| if same(&y) { "nothing".to_owned() } else { told::BY_NUMBERS.to_owned() }));
}

/// A column of 64 pixels of 64 channels, of pictures of 8 x 8 with a filter of 3 x 3 that goes over them by steps of 2.
fn pixels(name: &str) {
    let (dims, strides) = (vec![64, 8, 8, 4], vec![128, 8 * 128, 64 * 128]);
    let corner = if name == "corner" { -2 } else { -1 };
    let tile = match name {
        "by_a_box" => Tile::Box(vec![64, 8, 8, 1]),
        _ => Tile::Pixels { pixels: 64, channels: 64, corners: [[corner, -1], [-1, -1]], step: 2 },
    };
    let map = TensorMap { operand: Operand::Input(0), dtype: DType::BF16, dims, strides, tile, swizzle: Swizzle::None };
    let bytes = if name == "few_bytes" { 2 * 64 * 63 } else { 2 * 64 * 64 };
    let (w, h) = match name {
        "outside" => (-2, -1),
        "behind" => (-1, 7),
        "between" => (0, -1),
        _ => (-1, -1),
    };
    let (across, down) = if name == "offset" { (256, 0) } else { (1, 1) };
    let dispatch = Dispatch::new(&IMAGE, "hopper_fault_pixels").block(128).shared(9216).tensor_map(map).tensors([Operand::Output(0)]);
    let dispatch = dispatch.word(bytes).flag(name == "as_a_box").word(w as u32).word(h as u32).word(across).word(down);
    // A word a pixel's first two channels: which it is.
    let x = (0..4 * 64 * 32).map(|i| i / 32 + 1).collect();
    let x = Tensor::from_i32([4 * 64 * 32], x).unwrap();
    let y =
        probe::run(&Device::cuda_simulated().unwrap(), &[x], &[TensorType::new(DType::I32, [64 * 32])], move |launch| launch.add(dispatch.clone()));
    // The filter has 4 x 4 places in each picture, and its middle tap is in the picture at all of them.
    let pixel = |n: i32| n / 16 * 64 + n / 4 % 4 * 16 + n % 4 * 2 + 1;
    let same = |y: &[Tensor]| y[0].as_i32().unwrap().iter().enumerate().all(|(i, &y)| y == pixel(i as i32 / 32));
    println!("said: {}", y.map_or_else(|e| e.to_string(), |y| if same(&y) { "nothing".to_owned() } else { told::BY_NUMBERS.to_owned() }));
}

/// What is said of a kernel.
fn said(name: &str) -> String {
    probe::said("hopper_faults::one", name, if name == "older_device" { &[("CUDA_ON_CPU_ARCH", "89")] } else { &[] })
}

#[test]
fn each_is_told() {
    if !is_simulated() {
        return;
    }
    for right in ["none", "pixels_none"] {
        assert_eq!(said(right), "nothing", "{right}");
    }
    let list = told::list(IMAGE.stem);
    let missed = |Wrong { name, class, kernel, told }: &Wrong| {
        let said = said(kernel);
        (!told.iter().all(|word| said.contains(word))).then(|| format!("{name} ({class}, {kernel}): {said}, not {told:?}"))
    };
    let missed: Vec<String> = list.fault.iter().filter_map(missed).collect();
    assert!(missed.is_empty(), "{}:\n{}", list.title, missed.join("\n"));
}
