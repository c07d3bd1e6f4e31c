//! What attention launches through wgpu: tiles of queries and keys, or pieces of the keys for a few queries.

use super::tensors::{Extents, Form, PIECE, Places};
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::ops::support::philox::Mask;
use crate::tensor::TensorType;

const FORWARD: &str = shader!("common/philox", "common/attention", "common/attention_inputs", "attention");
const DECODE: &str = shader!("common/philox", "common/attention", "common/attention_inputs", "attention_decode");
const BACKWARD: &str = shader!("common/philox", "common/attention", "attention_backward");

/// Queries, or keys, of a tile.
const SIDE: usize = 32;
/// At most so many queries are taken by pieces of the keys.
const FEW: usize = SIDE / 4;
/// Vectors of four that the strip of values holds.
const STRIP: usize = 256;
/// Invocations that share a row of a head in [`BACKWARD`]'s first kernel, and rows of its workgroups.
const NOTED: usize = 32;

/// Columns of a head that a workgroup of tiles sums, and how many such parts a head has: at most 128 columns, for the registers' sake.
fn parts(size: usize) -> (usize, usize) {
    let columns = size.div_ceil(size.div_ceil(128).max(1)).next_multiple_of(SIDE).max(SIDE);
    (columns, size.div_ceil(columns))
}

/// Rows of values that are in workgroup memory at once: a power of two.
fn chunk(columns: usize) -> usize {
    1 << (STRIP * 4 / columns).min(SIDE).ilog2()
}

/// One execution, or a piece of it: what all its launches have in common.
struct Problem<'a> {
    form: &'a Form,
    e: Extents,
    /// Query batches before it, and of the whole execution.
    batches: [usize; 2],
    places: Places,
    /// Of the inputs from queries on.
    types: Vec<TensorType>,
    /// Where these start.
    first: usize,
}

impl<'a> Problem<'a> {
    fn new(form: &'a Form, launch: &Launch, first: usize, batch: usize) -> Self {
        let places = form.places(first);
        let types: Vec<TensorType> = (first..first + places.count).map(|i| launch.ty(i)).collect();
        let e = form.extents(&types);
        Problem { form, e, batches: [launch.first() * e.group, batch], places, types, first }
    }

    /// An input of the form; nothing where it is empty, or not there.
    fn input(&self, i: Option<usize>) -> Operand {
        i.filter(|i| !self.types[i - self.first].is_empty()).map_or(Operand::Nothing, Operand::Input)
    }

    /// q, k, v and the mask.
    fn sources(&self) -> [Operand; 4] {
        let [q, k, v] = self.places.sources.map(Some);
        [q, k, v, self.places.mask].map(|i| self.input(i))
    }

    /// The lengths and the words of dropout.
    fn told(&self) -> [Operand; 2] {
        [self.places.lengths, self.places.rng].map(|i| self.input(i))
    }

    /// A launch, its constants and its sizes.
    fn dispatch(&self, source: &'static str, entry: &str, operands: impl IntoIterator<Item = Operand>) -> Dispatch {
        let Problem { form, e, .. } = self;
        let (part, _) = parts(e.size);
        let mut dispatch = Dispatch::new(source, entry, operands.into_iter().collect::<Vec<_>>());
        for (name, size) in [("SIZE", e.size), ("PART", part), ("CHUNK", chunk(part)), ("PIECE", PIECE)] {
            dispatch = dispatch.constant(name, format!("{size}u"));
        }
        let flags = [("FUSED", form.fused), ("CAUSAL", form.causal), ("MASK", form.mask), ("LENGTHS", form.lengths)];
        for (name, flag) in flags.into_iter().chain([("DROPOUT", form.dropout.is_some())]) {
            dispatch = dispatch.constant(name, flag);
        }
        let [first, batch] = self.batches;
        let share = |input: Option<usize>| input.map_or(1, |i| batch / self.types[i - self.first].shape[0].max(1));
        let (p, key) = form.dropout.unwrap_or_default();
        for size in [e.batch, first, e.group, e.heads, e.queries, e.keys, share(self.places.mask), share(self.places.lengths)] {
            dispatch = dispatch.size(size);
        }
        let dispatch = dispatch.number(form.scale).word(Mask::threshold(p)).number(1.0 / (1.0 - p));
        dispatch.word(key as u32).word((key >> 32) as u32)
    }
}

/// Tells an execution whose queries are input `first` by batches of its keys. `others` have the batches too; mask and lengths are seen whole.
fn by_batches(form: &Form, first: usize, others: &[Operand], launch: &mut Launch, each: impl Fn(Problem, &mut Launch)) {
    let (batch, keys) = (launch.ty(first).shape[0], launch.ty(first + form.sources() / 3).shape[0]);
    let sources = (first..first + form.sources()).map(Operand::Input);
    let tensors: Vec<Operand> = sources.chain(others.iter().copied()).collect();
    launch.in_pieces(keys, &tensors, |launch| each(Problem::new(form, launch, first, batch), launch));
}

/// y, lse and the mean of the probabilities.
pub fn forward(form: &Form, mean: bool, launch: &mut Launch) {
    by_batches(form, 0, &[0, 1, 2].map(Operand::Output), launch, |problem, launch| forward_of(&problem, mean, launch));
}

fn forward_of(problem: &Problem, mean: bool, launch: &mut Launch) {
    let e = problem.e;
    if e.batch * e.queries == 0 {
        return;
    }
    let saves = launch.out_ty(1).is_some();
    let lse = if mean && !saves { launch.scratch(e.batch * e.heads * e.queries) } else { Operand::Output(1) };
    let save = saves || mean;
    let given: Vec<Operand> = problem.sources().into_iter().chain(problem.told()).collect();
    let with = |y: Operand, lse: Operand| given.iter().copied().chain([y, lse]);
    match e.pieces(FEW) {
        None => {
            let groups = e.batch * e.heads * e.queries.div_ceil(SIDE) * parts(e.size).1;
            let tiles = problem.dispatch(FORWARD, "attention_forward_f32", with(Operand::Output(0), lse));
            launch.add(tiles.constant("SAVE", save).rows(groups));
        }
        Some(pieces) => {
            let rows = e.batch * e.heads * e.queries;
            // Parts are stored in f32, whatever y is.
            let in_parts = pieces > 1 || launch.is_half();
            let (y, whole) = match in_parts {
                false => (Operand::Output(0), lse),
                true => (launch.scratch(rows * pieces * (e.size + 2)), Operand::Nowhere),
            };
            let decode = problem.dispatch(DECODE, "attention_decode_f32", with(y, whole)).constant("SAVE", save).constant("IN_PARTS", in_parts);
            launch.add(decode.rows(e.batch / e.group * e.heads * pieces));
            if in_parts {
                let merge = problem.dispatch(DECODE, "attention_decode_merge_f32", [y, Operand::Output(0), lse]);
                launch.add(merge.constant("SAVE", save).constant("IN_PARTS", in_parts).over(rows * e.size));
            }
        }
    }
    if mean && e.keys > 0 {
        let mut dispatch = problem.dispatch(FORWARD, "attention_probabilities_f32", with(Operand::Output(2), lse)).constant("SAVE", save);
        dispatch.grid = [e.keys.div_ceil(SIDE), e.queries.div_ceil(SIDE), e.batch];
        launch.add(dispatch);
    }
}

/// The gradients that are wanted. Inputs: dy, y, lse, then those of the form.
pub fn backward(form: &Form, launch: &mut Launch) {
    let others = [[0, 1, 2].map(Operand::Input), [0, 1, 2].map(Operand::Output)].concat();
    by_batches(form, 3, &others, launch, |problem, launch| backward_of(&problem, launch));
}

fn backward_of(problem: &Problem, launch: &mut Launch) {
    let form = problem.form;
    let (e, rows) = (problem.e, problem.e.batch * problem.e.heads * problem.e.queries);
    let wants = if form.fused { [0, 0, 0] } else { [0, 1, 2] }.map(|o| launch.out_ty(o).is_some_and(|ty| !ty.is_empty()));
    let with_rows = |i: usize| if rows == 0 { Operand::Nothing } else { Operand::Input(i) };
    let notes = launch.scratch(4 + e.batch + 2 * rows);
    let dispatch = |name: &str, operands: Vec<Operand>| {
        let dispatch = problem.dispatch(BACKWARD, &format!("attention_backward_{name}_f32"), operands);
        dispatch.constant("SECOND", !form.fused).constant("WANTS_KEYS", wants[1]).constant("WANTS_VALUES", wants[2])
    };
    let noted = (0..3).map(with_rows).chain(problem.told()).chain([notes]).collect();
    launch.add(dispatch("notes", noted).rows(rows.div_ceil(NOTED).max(1)));
    let with = |outputs: [Operand; 2]| problem.sources().into_iter().chain([with_rows(0), notes]).chain(outputs).collect();
    let groups = |batch: usize, rows: usize| batch * e.heads * rows.div_ceil(SIDE) * parts(e.size).1;
    if wants[0] {
        launch.add(dispatch("query", with([Operand::Output(0), Operand::Nowhere])).rows(groups(e.batch, e.queries)));
    }
    if wants[1] || wants[2] {
        let outputs = if form.fused { [Operand::Output(0), Operand::Nowhere] } else { [Operand::Output(1), Operand::Output(2)] };
        launch.add(dispatch("key", with(outputs)).rows(groups(e.batch / e.group.max(1), e.keys)));
    }
}

#[cfg(test)]
mod tests {
    use super::{chunk, parts};

    #[test]
    fn parts_cover_a_head_and_strips_fit() {
        assert_eq!([1, 33, 64, 96, 128, 129, 160, 300].map(parts), [(32, 1), (64, 1), (64, 1), (96, 1), (128, 1), (96, 2), (96, 2), (128, 3)]);
        for size in 1..=512 {
            let (columns, parts) = parts(size);
            assert!(columns * parts >= size && columns * (parts - 1) < size && columns <= 128 && columns.is_multiple_of(32), "{size}");
            assert!(chunk(columns) * columns / 4 <= 256 && 32usize.is_multiple_of(chunk(columns)) && chunk(columns) >= 4, "{size}");
        }
    }
}
