//! Embedding: the rows of a table by id, with position and token-type rows added in the same pass.
//!
//! `y[.., l] = table[ids[.., l]] + positions[offset + l] + types[0]`
//!
//! ids is i32 [.., L], table [V, D], positions [P, D], offset i32 \[1\] on the device (the position of column 0), types [T, D], y [.., L, D].
//! An id outside 0..V, or a position outside 0..P, adds nothing; the host checks ids before a run. Backward: dense gradients of all
//! tables, each row added up by one task in a fixed order. Bound by memory.

mod backward;

use super::{Kernel, Row};
use super::gather::row_at;
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{DType, Shape, TensorType};

pub use backward::{EmbeddingBackwardPosition, EmbeddingBackwardTable, EmbeddingBackwardType};

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("embedding");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("embedding");

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward),
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    golden: Some(|_, b, input| Ok(vec![("y", embedding(b, input("ids")?, input("w")?)?)])),
    fill,
    ..Row::new("embedding", head!("mod.rs"), cases)
};

/// Ids within the table; positions from 0 on.
fn fill(op: &dyn Op, inputs: &[TensorType], i: usize) -> Option<Fill> {
    let rows = |n: usize| Some(Fill::Ints(0, n as i32));
    match (op.downcast::<Embedding>(), op.downcast::<EmbeddingBackwardTable>()) {
        (Some(_), _) if i == 0 => rows(inputs[1].shape[0]),
        (_, Some(table)) if i == 1 => rows(table.rows),
        _ => (inputs[i].dtype == DType::I32).then_some(Fill::Ints(0, 1)),
    }
}

/// The forward pass. Inputs: ids, table; positions and offset with `position`; types with `token_type`.
#[derive(Debug, Clone, Copy)]
pub struct Embedding {
    /// A row of a table of positions is added.
    pub position: bool,
    /// The first row of a table of token types is added.
    pub token_type: bool,
}

/// The rows of `table` [V, D] at `ids`: [.., D].
///
/// # Errors
/// [`crate::Error::Op`] where the table is not a matrix or the ids are not i32.
pub fn embedding(b: &mut Builder, ids: Value, table: Value) -> Result<Value> {
    embedding_sum(b, ids, table, None, None)
}

/// [`embedding`] of `ids` [.., L] plus, by column, the rows of a (table [P, D], offset i32 \[1\]), plus the first row of `types` [T, D].
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match.
pub fn embedding_sum(b: &mut Builder, ids: Value, table: Value, positions: Option<(Value, Value)>, types: Option<Value>) -> Result<Value> {
    let mut inputs = vec![ids, table];
    inputs.extend(positions.iter().flat_map(|&(table, offset)| [table, offset]));
    inputs.extend(types);
    b.apply1(Embedding { position: positions.is_some(), token_type: types.is_some() }, &inputs)
}

impl Embedding {
    /// The index of the token types among the inputs.
    fn types_at(&self) -> usize {
        if self.position { 4 } else { 2 }
    }
}

impl Op for Embedding {
    fn stem(&self) -> &'static str {
        "embedding"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("embedding");
        check.count(inputs, self.types_at() + usize::from(self.token_type))?;
        let (ids, table) = (&inputs[0], &inputs[1]);
        check.int("ids", ids)?;
        check.float("table", table)?;
        check.rank("table", table, 2)?;
        let width = table.shape[1];
        let other = |name: &str, ty: &TensorType| {
            check.rank(name, ty, 2)?;
            check.that(ty.shape[1] == width && ty.dtype == table.dtype, name, format!("{}[_, {width}]", table.dtype), ty)
        };
        if self.position {
            check.that(!ids.shape.iter().as_slice().is_empty(), "ids", "at least one dimension", ids)?;
            other("positions", &inputs[2])?;
            check.int("offset", &inputs[3])?;
            check.shape("offset", &inputs[3], &[1])?;
        }
        if self.token_type {
            other("types", &inputs[self.types_at()])?;
        }
        Ok(vec![table.with_shape(Shape::new(&[&ids.shape[..], &[width]].concat())?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let added = u64::from(self.position) + u64::from(self.token_type);
        Cost::streaming(added * outputs[0].len() as u64, &[inputs[0], outputs[0]], outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let given = |given: bool, input: usize| if given { cuda::Operand::Input(input) } else { cuda::Operand::Nothing };
        let (positions, offset, types) = (given(self.position, 2), given(self.position, 3), given(self.token_type, self.types_at()));
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), positions, offset, types, cuda::Operand::Output(0)];
        let (columns, table) = (launch.ty(0).shape.rows_and_width().1, launch.ty(1).shape);
        let rows = if self.position { launch.ty(2).shape[0] } else { 0 };
        let n = launch.ty(0).len() * table[1];
        let dispatch = cuda::Dispatch::new(&KERNELS, "embedding_forward_f32").overlaps().tensors(tensors).count(n);
        launch.add(dispatch.sizes([table[1], columns, table[0], rows]).over(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let table = launch.ty(1).shape;
        let given = |given: bool, input: usize| if given { Operand::Input(input) } else { Operand::Nothing };
        let (positions, offset, types) = (given(self.position, 2), given(self.position, 3), given(self.token_type, self.types_at()));
        let rows = if self.position { launch.ty(2).shape[0] } else { 0 };
        let (ids, y) = (Operand::Input(0), Operand::Output(0));
        let (sequences, columns) = launch.ty(0).shape.rows_and_width();
        // Positions are counted from the first id of a sequence.
        let units = if self.position { sequences } else { sequences * columns };
        launch.in_pieces(units, &[ids, y], |launch| {
            let n = launch.out_ty(0).map_or(0, |y| y.len());
            let dispatch = Dispatch::new(SHADER, "embedding_forward_f32", [ids, Operand::Input(1), positions, offset, types, y]);
            let dispatch = dispatch.constant("POSITION", self.position).constant("TYPES", self.token_type);
            launch.add(dispatch.size(n).size(table[1]).size(columns).size(table[0]).size(rows).over(n));
        });
        Ok(())
    }
}

impl Embedding {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (_, columns) = args.ty(0).shape.rows_and_width();
        let (ids, table, y) = (args.ints(0)?, args.floats(1)?, args.out(0)?);
        let (vocabulary, width) = (args.shape(1)[0], args.shape(1)[1]);
        let positions = if self.position { Some((args.floats(2)?, args.shape(2)[0], args.ints(3)?[0])) } else { None };
        let types = if self.token_type { Some(args.floats(self.types_at())?) } else { None };
        for_rows(
            y,
            width,
            #[inline(always)]
            |n, y| {
                match row_at(ids[n], vocabulary) {
                    Some(id) => y.copy_from_slice(&table[id * width..][..width]),
                    None => y.fill(T::ZERO),
                }
                let position = positions.and_then(|(table, rows, offset)| {
                    let row = row_at(offset.wrapping_add((n % columns) as i32), rows)?;
                    Some(&table[row * width..][..width])
                });
                for row in [position, types].into_iter().flatten() {
                    for (y, &x) in y.iter_mut().zip(row) {
                        *y += x;
                    }
                }
            },
        );
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    let op: Embedding = cx.op()?;
    let Some(dy) = cx.grad(0) else { return Ok(()) };
    let ids = cx.input(0);
    let rows = |cx: &mut Backward, input: usize| {
        let table = cx.input(input);
        cx.builder().shape(table)[0]
    };
    let vocabulary = rows(cx, 1);
    cx.set_by(1, EmbeddingBackwardTable { rows: vocabulary }, &[dy, ids])?;
    if op.position {
        let (positions, offset) = (rows(cx, 2), cx.input(3));
        cx.set_by(2, EmbeddingBackwardPosition { rows: positions }, &[dy, offset])?;
    }
    if op.token_type {
        let types = rows(cx, op.types_at());
        cx.set_by(op.types_at(), EmbeddingBackwardType { rows: types }, &[dy])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let plain = |ids: &'static [usize], vocabulary: usize, width: usize| {
        let case = Case::of(format!("{ids:?}_{vocabulary}x{width}"), |b, v| embedding(b, v[0], v[1]));
        case.ints("ids", super::support::elementwise::dims_of(ids), Fill::Ints(0, vocabulary as i32)).normal("table", [vocabulary, width])
    };
    let outside = Case::of("outside", |b, v| embedding(b, v[0], v[1])).ints("ids", [4], Fill::Exact(vec![3, -1, 0, 2]));
    let sum = |name: &str, [batch, length]: [usize; 2], [vocabulary, positions, types]: [usize; 3], width: usize, offset: i32| {
        let build = Case::of(name, |b, v| embedding_sum(b, v[0], v[1], Some((v[2], v[3])), v.get(4).copied()));
        let case = build.ints("ids", [batch, length], Fill::Ints(0, vocabulary as i32)).normal("table", [vocabulary, width]);
        let case = case.normal("positions", [positions, width]).ints("offset", [1], Fill::Exact(vec![offset]));
        if types > 0 { case.normal("types", [types, width]) } else { case }
    };
    let types = Case::of("types alone", |b, v| embedding_sum(b, v[0], v[1], None, Some(v[2]))).ints("ids", [2, 3], Fill::Ints(0, 5));
    let known = Case::of("known", |b, v| embedding_sum(b, v[0], v[1], Some((v[2], v[3])), Some(v[4]))).ints("ids", [1, 2], Fill::Exact(vec![1, 0]));
    let known = known.fixed("table", [2, 2], Fill::Values(vec![1.0, 2.0, 3.0, 4.0]));
    let known = known.fixed("positions", [4, 2], Fill::Values(vec![10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]));
    let known = known.ints("offset", [1], Fill::Exact(vec![2])).fixed("types", [2, 2], Fill::Values(vec![100.0, 200.0, 300.0, 400.0]));
    vec![
        known.expects("y", vec![153.0, 264.0, 171.0, 282.0]),
        plain(&[0, 3], 5, 7),
        plain(&[256], 10, 64),
        sum("16 sequences", [16, 16], [11, 20, 2], 64, 3),
        plain(&[1], 1, 1),
        plain(&[2, 3, 5], 7, 11),
        plain(&[600], 31, 33),
        outside.normal("table", [3, 5]),
        sum("bert", [3, 7], [11, 9, 2], 5, 0),
        sum("step", [3, 1], [11, 9, 0], 33, 8),
        sum("beyond the positions", [2, 7], [11, 9, 1], 17, 5),
        sum("before the positions", [2, 3], [11, 9, 1], 17, -2),
        sum("many", [9, 70], [11, 80, 3], 300, 4),
        types.normal("table", [5, 7]).normal("types", [3, 7]),
        sum("8x40x768", [8, 40], [30522, 512, 2], 768, 0).large(),
    ]
}
