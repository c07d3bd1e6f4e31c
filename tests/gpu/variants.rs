//! Kernels by what the GPU has: subgroups, fragments; and by what was measured on it.

use super::common::choices::Chosen;
use super::{Outcome, check};
use escnet::device::wgpu::Abilities;
use escnet::graph::{Builder, Options, Segment, Session, Store, Value};
use escnet::ops::attention::{AttentionOptions, Qkv, attention};
use escnet::ops::{
    cross_entropy::cross_entropy, layernorm::layernorm, log_softmax::log_softmax, matmul::matmul, peak_product::peak_product, sigmoid::sigmoid,
    softmax::softmax,
};
use escnet::{DType, Device, Tensor, TensorType};

const NO_SUBGROUPS: Abilities = Abilities { subgroups: false, ..Abilities::ALL };

pub fn subgroups() -> Outcome {
    for most in [Abilities::ALL, NO_SUBGROUPS] {
        let device = Device::wgpu_with(None, most)?;
        let mut b = Builder::new();
        let x = b.input("x", TensorType::f32([3, 1000]))?;
        let y = softmax(&mut b, x)?;
        b.output("y", y);
        let mut store = Store::new(&device);
        Session::new(b.finish(), &mut store, Options::default())?.run(&mut store, Segment::Run)?;
        let gpu = device.gpu().ok_or("no GPU")?;
        let used = gpu.kernels().iter().any(|kernel| kernel.source.contains("subgroupAdd("));
        check(used == gpu.abilities().subgroups && (most.subgroups || !used), format!("{used} with {:?}", gpu.abilities()))?;
    }
    Ok(())
}

/// Rows with NaN, infinity and minus infinity leave what they leave on the CPU, and other rows whole; by subgroups and without.
///
/// WGSL leaves open what exp makes of NaN, and SwiftShader's makes infinity of it. Where sigmoid shows that, softmax is not asked for NaN.
pub fn not_finite() -> Outcome {
    const WIDTH: usize = 300;
    let run = |device: &Device, last: f32| -> escnet::Result<Vec<Vec<f32>>> {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::f32([2, WIDTH]))?;
        let (w, bias) = (b.input("w", TensorType::f32([WIDTH]))?, b.input("b", TensorType::f32([WIDTH]))?);
        let labels = b.input("labels", TensorType::new(DType::I32, [2]))?;
        let (q, k) = (b.input("q", TensorType::f32([2, 1, 4]))?, b.input("k", TensorType::f32([2, WIDTH / 4, 4]))?);
        let loss = cross_entropy(&mut b, x, labels, None, 0.1, -100)?;
        let results = [
            softmax(&mut b, x)?,
            log_softmax(&mut b, x)?,
            layernorm(&mut b, x, w, bias, 1e-5)?,
            loss,
            attention(&mut b, Qkv::Separate { q, k, v: k }, AttentionOptions::new(1, 4))?.y,
        ];
        results.iter().enumerate().for_each(|(i, y)| b.output(&i.to_string(), *y));
        let mut store = Store::new(device);
        let mut session = Session::new(b.finish(), &mut store, Options::default())?;
        let mut numbers: Vec<f32> = (0..2 * WIDTH).map(|i| (i % 37) as f32 / 9.0).collect();
        numbers[2 * WIDTH - 1] = last;
        session.write("x", &Tensor::from_f32([2, WIDTH], numbers.clone())?)?;
        session.write("k", &Tensor::from_f32([2, WIDTH / 4, 4], numbers)?)?;
        session.write("w", &Tensor::from_f32([WIDTH], vec![1.0; WIDTH])?)?;
        session.write("b", &Tensor::from_f32([WIDTH], vec![0.0; WIDTH])?)?;
        session.write("q", &Tensor::from_f32([2, 1, 4], vec![1.0; 8])?)?;
        session.write("labels", &Tensor::from_i32([2], vec![5, 7])?)?;
        session.run(&mut store, Segment::Run)?;
        (0..results.len()).map(|i| Ok(session.read(&i.to_string(), &mut store)?.to_f32())).collect()
    };
    let devices = [Device::wgpu(None)?, Device::wgpu_with(None, NO_SUBGROUPS)?];
    let exp_keeps_nan = sigmoid_of_nan(&devices[0])?.is_nan();
    for last in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let expected = run(&Device::cpu(1)?, last)?;
        for device in &devices {
            let abilities = device.gpu().map(|gpu| gpu.abilities());
            for (i, (got, expected)) in run(device, last)?.iter().zip(&expected).enumerate() {
                let by_exp_alone = i < 2;
                if by_exp_alone && !exp_keeps_nan && expected[WIDTH].is_nan() {
                    continue;
                }
                let same = |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-4 * b.abs().max(1e-3);
                check(got.iter().zip(expected).all(same), format!("result {i} with {last} and {abilities:?}:\n{got:?}\ninstead of\n{expected:?}"))?;
            }
        }
    }
    Ok(())
}

fn sigmoid_of_nan(device: &Device) -> escnet::Result<f32> {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([1]))?;
    let y = sigmoid(&mut b, x)?;
    b.output("y", y);
    let mut store = Store::new(device);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    session.write("x", &Tensor::from_f32([1], vec![f32::NAN])?)?;
    session.run(&mut store, Segment::Run)?;
    Ok(session.read("y", &mut store)?.to_f32()[0])
}

/// Large products in half precision, and the roof that they are held against, by cooperative matrices where the GPU has them and they are allowed; the same
/// numbers either way.
pub fn fragments() -> Outcome {
    by_fragments([[1030, 68], [68, 1028]], matmul)?;
    by_fragments([[384, 64], [256, 64]], |b, x, y| peak_product(b, x, y, 3))
}

fn by_fragments(shapes: [[usize; 2]; 2], product: impl Fn(&mut Builder, Value, Value) -> escnet::Result<Value>) -> Outcome {
    let has = Device::wgpu(None)?.gpu().ok_or("no GPU")?.abilities();
    if !has.half {
        return Ok(());
    }
    let run = |most: Abilities| -> escnet::Result<(Vec<f32>, bool)> {
        let mut b = Builder::new();
        let [x, y] = [b.input("x", TensorType::new(DType::F16, shapes[0]))?, b.input("y", TensorType::new(DType::F16, shapes[1]))?];
        let z = product(&mut b, x, y)?;
        b.output("z", z);
        let device = Device::wgpu_with(None, most)?;
        let mut store = Store::new(&device);
        let mut session = Session::new(b.finish(), &mut store, Options::default())?;
        for (name, shape, step) in [("x", shapes[0], 5), ("y", shapes[1], 7)] {
            let numbers = (0..shape[0] * shape[1]).map(|i| (i * step % 17) as f32 - 8.0).collect();
            session.write(name, &Tensor::from_f32(shape, numbers)?)?;
        }
        session.run(&mut store, Segment::Run)?;
        let kernels = device.gpu().map(|gpu| gpu.kernels()).unwrap_or_default();
        Ok((session.read("z", &mut store)?.to_f32(), kernels.iter().any(|kernel| kernel.source.contains("enable wgpu_cooperative_matrix"))))
    };
    let (all, used) = run(Abilities::ALL)?;
    let (none, used_none) = run(Abilities { fragments: None, ..Abilities::ALL })?;
    check(used == has.fragments.is_some() && !used_none, format!("{has:?}: {used} and {used_none}"))?;
    // Integers that small are exact in both.
    check(all == none, "other numbers")
}

/// What a product of 64 x 64 can be made to use, and would not by itself.
pub const SCALARS: Chosen = Chosen { open: || Device::wgpu(None), dtype: DType::F32, variant: "scalars", kernel: "matmul_forward_scalars_f32" };

pub fn kept_choices() -> Outcome {
    let folder = std::env::temp_dir().join(format!("escnet_chosen_{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = SCALARS.of_folder(&folder);
    let _ = std::fs::remove_dir_all(&folder);
    Ok(outcome?)
}
