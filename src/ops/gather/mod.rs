//! Rows by index along the first dimension: `y[n] = x[indices[n]]`, and its in-place form for beam search.
//!
//! x is [V, ..], indices i32 of any shape [I..], y is [I.., ..]. An index outside 0..V stands for a row of zeros; the host checks indices
//! before a run. Backward: `dx[v] = sum of dy[n] over indices[n] = v`, added in the order of n: the indices are sorted, each row of dx
//! is then the work of one task, and no two write one place. Pure data movement: bound by memory.

mod backward;

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use crate::error::Error;
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};

pub use backward::GatherBackward;
#[cfg(feature = "cuda")]
pub(super) use backward::cuda_scatter_add;
#[cfg(feature = "wgpu")]
pub(super) use backward::launch_scatter_add;
pub(super) use backward::scatter_add;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("gather");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("gather");
/// Words that a workgroup holds while rows of state are exchanged.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const HELD: usize = 2048;

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), wgpu: Kernel::Own, cuda: Kernel::Own, fill, ..Row::new("gather", head!("mod.rs"), cases) };

/// Indices within the rows; all of a state's rows are held.
fn fill(op: &dyn Op, inputs: &[TensorType], i: usize) -> Option<Fill> {
    let rows = op.downcast::<GatherBackward>().map_or(inputs[0].shape.first().copied(), |op| Some(op.rows))?;
    match i {
        1 => Some(Fill::Ints(0, rows as i32)),
        2 => Some(Fill::Exact(vec![inputs[0].shape.get(1).copied()? as i32])),
        _ => None,
    }
}

/// The forward pass. Inputs: x of any element type, indices.
#[derive(Debug, Clone, Copy)]
pub struct Gather;

/// The rows of state exchanged in place: `state[b] = old state[indices[b]]`. Inputs: state [B, ..], indices \[B\], and with `length` an
/// i32 \[1\]: then the state is [B, L, ..] and only the first `length` of L move. A row whose index is outside 0..B stays.
#[derive(Debug, Clone, Copy)]
pub struct Reorder {
    /// There is a third input.
    pub length: bool,
}

/// The rows of `x` [V, ..] at `indices`: [I.., ..].
///
/// # Errors
/// [`crate::Error::Op`] where `x` has no dimensions or the indices are not i32.
pub fn gather_rows(b: &mut Builder, x: Value, indices: Value) -> Result<Value> {
    b.apply1(Gather, &[x, indices])
}

/// Replaces row `b` of `state` by its row `indices[b]`; of each row only the first `length` entries of the second dimension, where given.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match, [`crate::Error::Graph`] where `state` is not state.
pub fn reorder(b: &mut Builder, state: Value, indices: Value, length: Option<Value>) -> Result<()> {
    let inputs: Vec<Value> = [state, indices].into_iter().chain(length).collect();
    b.apply(Reorder { length: length.is_some() }, &inputs).map(drop)
}

/// The place of an index among `rows`, where it is one.
#[inline]
pub(super) fn row_at(index: i32, rows: usize) -> Option<usize> {
    usize::try_from(index).ok().filter(|&i| i < rows)
}

impl Op for Gather {
    fn stem(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("gather");
        check.count(inputs, 2)?;
        check.int("indices", &inputs[1])?;
        let Some((_, rest)) = inputs[0].shape.split_first() else {
            return check.that(false, "x", "at least one dimension", inputs[0]).map(|()| Vec::new());
        };
        Ok(vec![inputs[0].with_shape(Shape::new(&[&inputs[1].shape, rest].concat())?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, &[inputs[1], outputs[0]], outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (x, indices, width) = (launch.ty(0), launch.ty(1), launch.ty(0).shape[1..].iter().product());
        let (n, word) = (indices.len() * width, launch.word(x));
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)];
        let dispatch = cuda::Dispatch::new(&KERNELS, format!("gather_forward_{word}")).tensors(tensors).count(n);
        launch.add(dispatch.sizes([width, x.shape[0]]).over(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let [x, indices, y] = [Operand::Input(0), Operand::Input(1), Operand::Output(0)];
        launch.in_pieces(launch.ty(1).len(), &[indices, y], |launch| {
            let (n, shape) = (launch.out_ty(0).map_or(0, |y| y.len()), launch.ty(0).shape);
            launch.add(of("gather_forward_u32", [x, indices, y], false).size(n).size(shape[1..].iter().product()).size(shape[0]).over(n));
        });
        Ok(())
    }
}

fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
    let width = args.shape(0)[1..].iter().product();
    let indices = args.ints(1)?;
    match args.ints(0) {
        Ok(x) => copy_rows(args.out_ints(0)?, x, width, indices, 0),
        Err(_) => copy_rows(args.out(0)?, args.floats(0)?, width, indices, T::ZERO),
    }
    Ok(())
}

fn copy_rows<E: Copy + Send + Sync>(y: &mut [E], x: &[E], width: usize, indices: &[i32], zero: E) {
    let rows = x.len() / width.max(1);
    for_rows(y, width, |n, y| match row_at(indices[n], rows) {
        Some(row) => y.copy_from_slice(&x[row * width..][..width]),
        None => y.fill(zero),
    });
}

/// A launch of a kernel of `gather.wgsl`.
#[cfg(feature = "wgpu")]
fn of(entry: &str, operands: [Operand; 3], length: bool) -> Dispatch {
    Dispatch::new(SHADER, entry, operands).constant("LENGTH", length).constant("HELD", format!("{HELD}u"))
}

impl Op for Reorder {
    fn stem(&self) -> &'static str {
        "gather"
    }

    fn pass(&self) -> &'static str {
        "reorder"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("gather");
        check.count(inputs, if self.length { 3 } else { 2 })?;
        let rank = inputs[0].shape.iter().count();
        check.that(rank > usize::from(self.length), "state", format!("more than {} dimensions", u8::from(self.length)), inputs[0])?;
        check.int("indices", &inputs[1])?;
        check.shape("indices", &inputs[1], &inputs[0].shape[..1])?;
        if self.length {
            check.int("length", &inputs[2])?;
            check.shape("length", &inputs[2], &[1])?;
        }
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, &inputs[..1])
    }

    fn updates(&self) -> Vec<usize> {
        vec![0]
    }

    fn workspace(&self, inputs: &[TensorType], _threads: usize) -> usize {
        if inputs[0].dtype.is_float() { inputs[0].shape[0] * self.width(&inputs[0].shape) } else { 0 }
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (shape, word) = (launch.ty(0).shape, launch.word(launch.ty(0)));
        let (row, span) = (shape[1..].iter().product::<usize>(), exchanged("cuda", shape[0])?);
        let length = if self.length { cuda::Operand::Input(2) } else { cuda::Operand::Nothing };
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), length];
        let dispatch = cuda::Dispatch::new(&KERNELS, format!("gather_reorder_{word}")).overlaps().tensors(tensors);
        launch.add(dispatch.sizes([shape[0], row, self.width(&shape), span]).rows(row.div_ceil(span)));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let shape = launch.ty(0).shape;
        let (rows, row, span) = (shape[0], shape[1..].iter().product::<usize>(), exchanged("wgpu", shape[0])?);
        let length = if self.length { Operand::Input(2) } else { Operand::Nothing };
        let dispatch = of("gather_reorder_u32", [Operand::Update(0), Operand::Input(1), length], self.length);
        launch.add(dispatch.size(rows).size(row).size(self.width(&shape)).size(span).rows(row.div_ceil(span)));
        Ok(())
    }
}

/// Columns of a workgroup that exchanges so many rows.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn exchanged(device: &str, rows: usize) -> Result<usize> {
    let too_many = || Error::Device { device: device.to_owned(), reason: format!("gather.reorder: at most {HELD} rows, got {rows}") };
    if rows > HELD { Err(too_many()) } else { Ok((HELD / rows.max(1)).min(256)) }
}

impl Reorder {
    /// Elements that move together.
    fn width(&self, shape: &[usize]) -> usize {
        shape[1 + usize::from(self.length)..].iter().product()
    }

    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (shape, indices) = (args.shape(0), args.ints(1)?);
        let (rows, width) = (shape[0], self.width(shape));
        let row: usize = shape[1..].iter().product();
        let moved = if self.length { (args.ints(2)?[0].max(0) as usize).min(shape[1]) * width } else { row };
        if rows * width == 0 {
            return Ok(());
        }
        if args.ty(0).dtype.is_float() {
            exchange(args.state(0)?, row, moved, width, indices, args.workspace()?);
        } else {
            // The scratch is floating point: integers move column by column.
            exchange(args.state_ints(0)?, row, moved, 1, indices, &mut vec![0; rows]);
        }
        Ok(())
    }
}

/// Exchanges the first `moved` elements of each row of `row` elements, `width` of them at a time.
fn exchange<E: Copy>(state: &mut [E], row: usize, moved: usize, width: usize, indices: &[i32], scratch: &mut [E]) {
    if indices.iter().enumerate().all(|(b, &i)| row_at(i, indices.len()).is_none_or(|i| i == b)) {
        return;
    }
    for at in (0..moved).step_by(width) {
        for (b, to) in scratch.chunks_exact_mut(width).enumerate() {
            let from = row_at(indices[b], indices.len()).unwrap_or(b);
            to.copy_from_slice(&state[from * row + at..][..width]);
        }
        for (b, from) in scratch.chunks_exact(width).enumerate() {
            state[b * row + at..][..width].copy_from_slice(from);
        }
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    cx.op::<Gather>()?;
    if let Some(dy) = cx.grad(0) {
        let (x, indices) = (cx.input(0), cx.input(1));
        let rows = cx.builder().shape(x)[0];
        cx.set_by(0, GatherBackward { rows }, &[dy, indices])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |x: &[usize], indices: &[usize]| {
        let case = Case::of(format!("{x:?}[{indices:?}]"), |b, v| gather_rows(b, v[0], v[1])).normal("x", dims_of(x));
        case.ints("indices", dims_of(indices), Fill::Ints(0, x[0] as i32))
    };
    let outside = Case::of("outside", |b, v| gather_rows(b, v[0], v[1])).normal("x", [3, 5]);
    let ints = Case::of("ints", |b, v| gather_rows(b, v[0], v[1])).ints("x", [3, 5], Fill::Ints(-9, 9));
    let move_rows = |name: &str, dims: &[usize], indices: Vec<i32>, length: Option<i32>, ints: bool| {
        let case = Case::new(name, |b, v| reorder(b, v[0], v[1], v.get(2).copied()).map(|()| Vec::new()));
        let case = match ints {
            true => case.state("state", TensorType::i32(dims_of(dims)), Fill::Ints(-99, 99)),
            false => case.state("state", TensorType::f32(dims_of(dims)), Fill::Normal(0.0, 1.0)),
        };
        let case = case.ints("indices", [dims[0]], Fill::Exact(indices));
        if let Some(n) = length { case.ints("length", [1], Fill::Exact(vec![n])) } else { case }
    };
    // Where nothing else lies in dx's memory, a row that it does not have is seen when it is written.
    let alone = Case::of("gradient alone", |b, v| b.apply1(GatherBackward { rows: 3 }, v));
    let indexed = |name: String, rows: usize, count: i32, index: &dyn Fn(i32) -> i32| {
        let case = Case::of(name, |b, v| gather_rows(b, v[0], v[1])).normal("x", [rows, 3]);
        case.ints("indices", [count as usize], Fill::Exact((0..count).map(index).collect()))
    };
    let repeated = |name: &str, rows: usize, index: fn(i32) -> i32| indexed(name.to_owned(), rows, 300, &index);
    // Around the ends of what is sorted and merged at once: all apart, and half of them one index.
    let apart = |count: i32| indexed(format!("{count} apart"), count as usize, count, &|n| (n * 577 + 5) % count);
    let half = |count: i32| indexed(format!("{count}, half of them one"), 100, count, &|n| if n % 2 == 0 { 41 } else { n * 7 % 99 });
    // The sum of a row is 2^-11 in the order of n alone; in f32 another order loses 2^-12 beside 2^15. The large ones
    // are one half, so that a sum in two pieces keeps them together.
    let in_order = |rows: usize| {
        let case = Case::of(format!("{rows} in order"), move |b, v| b.apply1(GatherBackward { rows }, v));
        let parts = [2.0f64.powi(15), -2.0f64.powi(15), 2.0f64.powi(-12), 2.0f64.powi(-12)];
        let case = case.fixed("dy", [4 * rows, 1], Fill::Values((0..4 * rows).map(|n| parts[n / rows]).collect()));
        let case = case.ints("indices", [4 * rows], Fill::Exact((0..4 * rows).map(|n| (n * 7 % rows) as i32).collect()));
        case.expects("y", vec![2.0f64.powi(-11); rows])
    };
    let known = Case::of("known", |b, v| gather_rows(b, v[0], v[1])).expects("y", vec![4.0, 5.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    let known = known.fixed("x", [3, 2], Fill::Values((0..6).map(f64::from).collect())).ints("indices", [4], Fill::Exact(vec![2, -1, 0, 3]));
    let known_move = |name: &str, ty: TensorType, fill: Fill| {
        let case = Case::new(name, |b, v| reorder(b, v[0], v[1], Some(v[2])).map(|()| Vec::new())).state("state", ty, fill);
        let case = case.ints("indices", [2], Fill::Exact(vec![1, 1])).ints("length", [1], Fill::Exact(vec![1]));
        case.expects("state", vec![4.0, 5.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    };
    vec![
        known,
        known_move("reorder known", TensorType::f32([2, 2, 2]), Fill::Values((0..8).map(f64::from).collect())),
        known_move("reorder known ints", TensorType::i32([2, 2, 2]), Fill::Exact((0..8).collect())),
        case(&[1], &[1]),
        case(&[5], &[7]),
        case(&[5, 7], &[0]),
        case(&[10, 64], &[256]),
        case(&[11, 6], &[4]),
        case(&[7, 3, 5], &[2, 9]),
        case(&[101, 67], &[300]),
        case(&[3, 300], &[400]),
        case(&[40, 5], &[330]),
        alone.fixed("dy", [300, 3], Fill::Normal(0.0, 1.0)).ints("indices", [300], Fill::Exact((0..300).map(|n| n / 100 + 2).collect())),
        repeated("all one", 3, |_| 1),
        repeated("outside and repeated", 3, |n| if n < 150 { -1 } else if n < 250 { 2 } else { 3 }),
        repeated("runs that end with their share", 7, |n| n / 32),
        in_order(128),
        in_order(1152),
        indexed("2500 all one".to_owned(), 2, 2500, &|_| 1),
        apart(2),
        apart(255),
        apart(256),
        apart(257),
        apart(1024),
        half(1025),
        apart(3000),
        half(5000),
        half(17 * 1024 + 3),
        outside.ints("indices", [4], Fill::Exact(vec![2, -1, 3, 0])),
        ints.ints("indices", [4], Fill::Exact(vec![2, 2, 5, 0])),
        move_rows("reorder", &[4, 7, 5], vec![1, 0, 3, 3], None, false),
        move_rows("reorder outside", &[4, 3], vec![1, -1, 9, 0], None, false),
        move_rows("reorder 3 of 7", &[4, 7, 5], vec![2, 2, 0, 1], Some(3), false),
        move_rows("reorder 0 of 7", &[2, 7, 5], vec![1, 1], Some(0), false),
        move_rows("reorder all of 7", &[2, 7, 5], vec![1, 0], Some(7), false),
        move_rows("reorder 5 of 300", &[3, 300, 5], vec![2, 0, 0], Some(297), false),
        move_rows("reorder 700 rows", &[700, 7], (0..700).rev().collect(), None, false),
        move_rows("reorder beyond the end", &[2, 7, 5], vec![1, 0], Some(9), false),
        move_rows("reorder less than nothing", &[2, 7, 5], vec![1, 0], Some(-3), false),
        move_rows("reorder ints", &[3, 7], vec![2, 2, 1], Some(5), true),
        case(&[30524, 768], &[320]).large(),
        move_rows("reorder 3x20x768", &[3, 20, 768], vec![1, 0, 0], Some(15), false).large(),
    ]
}
