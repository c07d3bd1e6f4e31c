//! Appends to a cache of keys or values: `cache[b, position + l] = new[b, l]`, in place.
//!
//! cache is state [B, Lmax, W], new [B, L, W], position i32 \[1\] on the device, so that one recorded graph serves every step. Rows that
//! would fall outside the cache are dropped. Pure data movement.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;
use rayon::prelude::*;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("kv_cache");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("kv_cache");

/// The row of the table.
pub const ROW: Row = Row { fill: |_, _, i| (i == 2).then_some(Fill::Ints(0, 1)), wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("kv_cache", head!("kv_cache.rs"), cases) };

/// Inputs: cache (updated), new, position.
#[derive(Debug, Clone, Copy)]
pub struct KvAppend;

/// Copies `new` [B, L, W] into the rows of `cache` [B, Lmax, W] from `position` i32 \[1\] on.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match, [`crate::Error::Graph`] where `cache` is not state.
pub fn kv_append(b: &mut Builder, cache: Value, new: Value, position: Value) -> Result<()> {
    b.apply(KvAppend, &[cache, new, position]).map(drop)
}

impl Op for KvAppend {
    fn stem(&self) -> &'static str {
        "kv_cache"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("kv_cache");
        check.count(inputs, 3)?;
        let (cache, new) = (&inputs[0], &inputs[1]);
        check.float("cache", cache)?;
        check.rank("cache", cache, 3)?;
        check.rank("new", new, 3)?;
        check.same("new", new, &cache.with_shape([cache.shape[0], new.shape[1], cache.shape[2]]))?;
        check.int("position", &inputs[2])?;
        check.shape("position", &inputs[2], &[1])?;
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        Cost::streaming(0, &inputs[1..], &inputs[1..2])
    }

    fn updates(&self) -> Vec<usize> {
        vec![0]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (cache, new) = (launch.ty(0).shape, launch.ty(1).shape);
        let (n, word) = (new.len(), launch.word(launch.ty(0)));
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Input(2)];
        let dispatch = cuda::Dispatch::new(&KERNELS, format!("kv_cache_forward_{word}")).overlaps().tensors(tensors).count(n);
        launch.add(dispatch.sizes([new[1] * new[2], new[2], cache[1]]).over(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let operands = [Operand::Update(0), Operand::Input(1), Operand::Input(2)];
        launch.in_pieces(launch.ty(0).shape[0], &operands[..2], |launch| {
            let (cache, new) = (launch.ty(0).shape, launch.ty(1).shape);
            let n = new.len();
            let dispatch = Dispatch::new(SHADER, "kv_cache_forward_f32", operands);
            launch.add(dispatch.size(n).size(new[1] * new[2]).size(new[2]).size(cache[1]).over(n));
        });
        Ok(())
    }
}

fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
    let (rows, width, added) = (args.shape(0)[1], args.shape(0)[2], args.shape(1)[1]);
    let (new, position, cache) = (args.floats(1)?, i64::from(args.ints(2)?[0]), args.state(0)?);
    if cache.is_empty() || new.is_empty() {
        return Ok(());
    }
    // The part of `new` that falls inside.
    let skip = (-position).clamp(0, added as i64) as usize;
    let to = position.clamp(0, rows as i64) as usize;
    let count = (added - skip).min(rows - to);
    cache.par_chunks_mut(rows * width).zip(new.par_chunks(added * width)).for_each(|(cache, new)| {
        cache[to * width..][..count * width].copy_from_slice(&new[skip * width..][..count * width]);
    });
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |batch: usize, [rows, added]: [usize; 2], width: usize, position: i32| {
        let case = Case::new(format!("{batch}x{rows}x{width}[{position}..+{added}]"), |b, v| kv_append(b, v[0], v[1], v[2]).map(|()| Vec::new()));
        let case = case.state("cache", TensorType::f32([batch, rows, width]), Fill::Normal(0.0, 1.0));
        case.fixed("new", [batch, added, width], Fill::Normal(0.0, 1.0)).ints("position", [1], Fill::Exact(vec![position]))
    };
    let known = |name: &str, position: i32, after: [f64; 12]| {
        let case = Case::new(name, |b, v| kv_append(b, v[0], v[1], v[2]).map(|()| Vec::new())).expects("cache", after.to_vec());
        let case = case.state("cache", TensorType::f32([2, 3, 2]), Fill::Values((0..12).map(f64::from).collect()));
        let case = case.fixed("new", [2, 2, 2], Fill::Values((100..108).map(f64::from).collect()));
        case.ints("position", [1], Fill::Exact(vec![position]))
    };
    vec![
        known("inside", 1, [0.0, 1.0, 100.0, 101.0, 102.0, 103.0, 6.0, 7.0, 104.0, 105.0, 106.0, 107.0]),
        known("the last dropped", 2, [0.0, 1.0, 2.0, 3.0, 100.0, 101.0, 6.0, 7.0, 8.0, 9.0, 104.0, 105.0]),
        known("the first dropped", -1, [102.0, 103.0, 2.0, 3.0, 4.0, 5.0, 106.0, 107.0, 8.0, 9.0, 10.0, 11.0]),
        case(1, [1, 1], 1, 0),
        case(3, [7, 1], 5, 6),
        case(0, [7, 1], 5, 6),
        case(4, [16, 4], 64, 9),
        case(2, [9, 4], 3, 2),
        case(2, [9, 4], 3, 7),
        case(2, [3, 2], 3, 9),
        case(2, [3, 2], 3, -1),
        case(2, [3, 2], 3, -9),
        case(3, [20, 1], 768, 5).large(),
    ]
}
