//! Grids longer than an axis, tensors larger than a binding.

use super::models::{demo, picture};
use super::{Outcome, check, common, small, small_on};
use escnet::device::wgpu::Abilities;
use escnet::graph::{Builder, Options, Segment, Session, Store};
use escnet::infer::Model;
use escnet::ops::{TABLE, concat::concat};
use escnet::{Device, Engine, EngineOptions, Error, Tensor, TensorType};
use libtest_mimic::Failed;

/// 65535 workgroups of 256 are 16.8 million elements: one axis holds no more.
pub fn wrapped_grid() -> Outcome {
    let n = 65535 * 256 + 1000;
    let (mut session, mut store) = small(n, Options::default())?;
    let x: Vec<f32> = (0..n).map(|i| (i % 1001) as f32 - 500.0).collect();
    session.write("x", &Tensor::from_f32([n], x.clone())?)?;
    session.run(&mut store, Segment::Run)?;
    let y = session.read("y", &mut store)?.to_f32();
    check(y.iter().zip(&x).all(|(y, x)| *y == x.max(0.0)), "an element was not computed")
}

/// Cases of every kind of launch: maps, rows, sums of columns, tiles of products and of patches, of two sequences, of what is turned; a sort.
pub const WRAPPED: [(&str, &str); 13] = [
    ("relu", "[9001]"),
    ("softmax", "[5, 31]"),
    ("reduce", "[3, 20011]_sum_trailing(1)"),
    ("reduce", "[300, 70]_mean_leading(1)"),
    ("layernorm", "[67, 131]"),
    ("linear", "33x17x65_gelu_bias"),
    ("linear", "1100x40x3_gelu_bias"),
    ("conv2d", "3x19x18x10_6x3x3_s1p1"),
    ("attention", "tiles, beams, lengths of each"),
    ("attention", "decode in pieces"),
    ("transpose", "[2, 3, 45, 23]->[0, 2, 3, 1]"),
    ("gather", "5000, half of them one"),
    ("cross_entropy", "several parts of a row"),
];

/// Long grids are of tensors that a software driver takes minutes for. On one of three columns small ones wrap, too, and end with workgroups that have
/// nothing to do.
pub fn narrow_grid(stem: &str, name: &str) -> Outcome {
    let device = Device::wgpu_with(None, Abilities { across: 3, ..common::most() })?;
    let cases = TABLE.iter().find(|row| row.stem == stem).map_or_else(Vec::new, |row| (row.cases)());
    let case = cases.iter().find(|case| case.name == name).ok_or("no such case")?;
    Ok(common::cases::on_gpu(stem, case, &device)?)
}

/// 128 MiB and a bit, on a device that binds no more than those at once.
pub fn larger_than_a_binding() -> Outcome {
    let n = (32 << 20) + 100_000;
    let (mut session, mut store) = small_on(&Device::wgpu_with(None, Abilities::PORTABLE)?, n, Options::default())?;
    let number = |i: usize| (i % 1021) as f32 - 500.0;
    session.write("x", &Tensor::from_f32([n], (0..n).map(number).collect())?)?;
    session.run(&mut store, Segment::Run)?;
    let y = session.read("y", &mut store)?;
    let y = y.as_f32().ok_or("no f32")?;
    check((0..n).all(|i| y[i] == number(i).max(0.0)), "an element was not computed")?;
    check(session.times()?.iter().all(|node| node.kernels.len() == 2), "a node is not in two pieces")
}

/// Along its first dimension a tensor is not cut.
pub fn not_cut() -> Outcome {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([200]))?;
    let y = concat(&mut b, &[x, x], 0)?;
    b.output("y", y);
    let mut store = Store::new(&Device::wgpu_with(None, Abilities { binding: 1024, ..Abilities::ALL })?);
    let mut session = Session::new(b.finish(), &mut store, Options::default())?;
    match session.run(&mut store, Segment::Run) {
        Err(Error::Op { op: "concat", tensor, expected, got }) => {
            let told = [
                tensor.contains("output 0"),
                expected.contains("1024"),
                got.contains("1600 bytes"),
                got.contains("f32[400]"),
                got.contains("--batch"),
            ];
            check(told == [true; 5], format!("{tensor}: {expected}: {got}"))
        }
        other => Err(format!("{other:?}").into()),
    }
}

/// The demo model on a GPU that binds little more at once than its largest weights.
pub fn model_in_pieces() -> Outcome {
    // A picture's first layer has a quarter of it.
    let binding = 4 * 128 * 128 * 3 * 3;
    let device = Device::wgpu_with(None, Abilities { binding, ..Abilities::ALL })?;
    let pictures = (0..8).map(|n| picture(7 + n)).collect::<Result<Vec<_>, _>>()?;
    let classify = |device: &Device| -> Result<_, Failed> {
        let options = EngineOptions { batch: pictures.len(), timed: true, ..EngineOptions::default() };
        let mut engine = Engine::new(Model::of(demo()?)?, device, options);
        let said = engine.classify_all(&pictures)?;
        Ok((said, engine.times()?.iter().map(|node| node.kernels.len()).sum::<usize>()))
    };
    let ((whole, launches), (cut, more)) = (classify(&Device::wgpu(None)?)?, classify(&device)?);
    check(more > launches, format!("{more} launches instead of {launches}"))?;
    for (whole, cut) in whole.iter().zip(&cut) {
        check(whole.caption.ids == cut.caption.ids, format!("{} instead of {}", cut.caption.text, whole.caption.text))?;
        check(whole.predictions.iter().zip(&cut.predictions).all(|(a, b)| (a.probability - b.probability).abs() <= 1e-5), format!("{cut:?}"))?;
    }
    Ok(())
}
