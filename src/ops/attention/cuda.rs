//! What attention launches through CUDA: tiles of queries and keys, or pieces of the keys for a few queries.

use super::tensors::{Extents, Form, Places};
use crate::device::cuda::{Dispatch, Image, Launch, Operand, image};
use crate::ops::support::philox::Mask;
use crate::tensor::TensorType;

static FORWARD: Image = image!("attention");
static DECODE: Image = image!("attention_decode");
static BACKWARD: Image = image!("attention_backward");

/// Queries, or keys, of a tile, and columns of a head.
const TILE: usize = 64;
/// Keys of a piece.
const PIECE: usize = 64;
/// Threads that share a row in [`BACKWARD`]'s first kernel.
const BESIDE: usize = 8;

/// How the forward pass is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// By tiles of queries and keys.
    Tiles,
    /// A few queries: by this many pieces of the keys.
    Decode(usize),
}

impl Variant {
    /// Fewer queries than an eighth of a tile would leave most of it idle, and one block to go along all the keys.
    fn of(e: &Extents) -> Self {
        if e.queries <= TILE / 8 && e.keys > 0 { Variant::Decode(e.keys.div_ceil(PIECE)) } else { Variant::Tiles }
    }
}

/// One execution: what all its launches have in common.
struct Problem<'a> {
    form: &'a Form,
    e: Extents,
    places: Places,
    dtype: &'static str,
    /// The structure `Attention` of the kernels.
    told: Vec<usize>,
}

impl<'a> Problem<'a> {
    /// Of inputs from `first` on.
    fn new(form: &'a Form, launch: &Launch, first: usize) -> Self {
        let places = form.places(first);
        let types: Vec<TensorType> = (first..first + places.count).map(|i| launch.ty(i)).collect();
        let e = form.extents(&types);
        let across = e.heads * e.size;
        let (stride, offset) = if form.fused { (3 * across, across) } else { (across, 0) };
        let share = |input: Option<usize>| input.map_or(1, |i| (e.batch / launch.ty(i).shape[0].max(1)).max(1));
        let (p, key) = form.dropout.unwrap_or_default();
        let mut told = vec![e.batch, e.group, e.heads, e.queries, e.keys, e.size, stride, stride, offset, 2 * offset];
        told.extend([share(places.mask), share(places.lengths), usize::from(form.causal)]);
        let words = [(form.scale as f32).to_bits(), Mask::threshold(p), ((1.0 / (1.0 - p)) as f32).to_bits(), key as u32, (key >> 32) as u32];
        told.extend(words.map(|word| word as usize));
        Problem { form, e, places, dtype: launch.dtype(), told }
    }

    fn given(input: Option<usize>) -> Operand {
        input.map_or(Operand::Nothing, Operand::Input)
    }

    fn mask_and_lengths(&self) -> [Operand; 2] {
        [self.places.mask, self.places.lengths].map(Self::given)
    }

    /// q, k, v, mask, lengths and the words of dropout.
    fn sources(&self) -> Vec<Operand> {
        self.places.sources.map(Operand::Input).into_iter().chain(self.mask_and_lengths()).chain([Self::given(self.places.rng)]).collect()
    }

    fn dispatch(&self, image: &'static Image, name: &str, tensors: impl IntoIterator<Item = Operand>) -> Dispatch {
        Dispatch::new(image, format!("attention_{name}_{}", self.dtype)).tensors(tensors)
    }

    /// A launch of tiles of so many rows of all heads, and of as many columns.
    fn tiles(&self, image: &'static Image, pass: &str, tensors: Vec<Operand>, batch: usize, rows: usize) -> Dispatch {
        let blocks = batch * self.e.heads * rows.div_ceil(TILE) * self.e.size.div_ceil(TILE);
        self.dispatch(image, pass, tensors).structure(self.told.clone()).rows(blocks)
    }
}

/// y, lse and the mean of the probabilities.
pub fn forward(form: &Form, mean: bool, launch: &mut Launch) {
    let problem = Problem::new(form, launch, 0);
    let e = problem.e;
    let rows = e.batch * e.heads * e.queries;
    let lse = if mean && launch.out_ty(1).is_none() { launch.scratch(rows) } else { Operand::Output(1) };
    let y = Operand::Output(0);
    match Variant::of(&e) {
        Variant::Tiles => {
            let tensors = problem.sources().into_iter().chain([y, lse]).collect();
            launch.add(problem.tiles(&FORWARD, "forward", tensors, e.batch, e.queries));
        }
        Variant::Decode(pieces) => {
            let parts = if pieces > 1 { launch.scratch(rows * pieces * (e.size + 2)) } else { Operand::Nothing };
            let decode = problem.dispatch(&DECODE, "forward_decode", problem.sources()).tensors([parts, y, lse]);
            launch.add(decode.structure(problem.told.clone()).rows(e.batch / e.group * e.heads * pieces));
            if pieces > 1 {
                let merge = problem.dispatch(&DECODE, "forward_merge", [parts, y, lse]).structure(problem.told.clone());
                launch.add(merge.over(rows * e.size));
            }
        }
    }
    if mean {
        let [q, k, _] = problem.places.sources.map(Operand::Input);
        let [mask, lengths] = problem.mask_and_lengths();
        let dispatch = problem.dispatch(&FORWARD, "forward_probabilities", [q, k, mask, lengths, lse, Operand::Output(2)]);
        launch.add(dispatch.structure(problem.told.clone()).grid([e.keys.div_ceil(TILE), e.queries.div_ceil(TILE), e.batch]));
    }
}

/// The gradients that are wanted. Inputs: dy, y, lse, then those of the form.
pub fn backward(form: &Form, launch: &mut Launch) {
    let problem = Problem::new(form, launch, 3);
    let e = problem.e;
    let rows = e.batch * e.heads * e.queries;
    let [dq, dk, dv] = if problem.form.fused { [0, 0, 0] } else { [0, 1, 2] }.map(Operand::Output);
    let wants = |gradient: Operand| matches!(gradient, Operand::Output(o) if launch.out_ty(o).is_some());
    let [wants_queries, wants_others] = [wants(dq), wants(dk) || wants(dv)];
    let delta = launch.scratch(rows);
    let [dy, y, lse] = [0, 1, 2].map(Operand::Input);
    launch.add(problem.dispatch(&BACKWARD, "backward_delta", [dy, y, delta]).count(rows).structure(problem.told.clone()).over(rows * BESIDE));
    let with = |gradients: &[Operand]| problem.sources().into_iter().chain([dy, lse, delta]).chain(gradients.iter().copied()).collect();
    if wants_queries {
        launch.add(problem.tiles(&BACKWARD, "backward_query", with(&[dq]), e.batch, e.queries));
    }
    if wants_others {
        launch.add(problem.tiles(&BACKWARD, "backward_key", with(&[dk, dv]), e.batch / e.group.max(1), e.keys));
    }
}

#[cfg(test)]
mod tests {
    use super::{Extents, Variant};

    #[test]
    fn a_few_queries_meet_pieces_of_the_keys() {
        let of = |queries: usize, keys: usize| Variant::of(&Extents { batch: 3, group: 3, heads: 12, queries, keys, size: 64 });
        assert_eq!([of(1, 577), of(1, 40), of(8, 65)], [Variant::Decode(10), Variant::Decode(1), Variant::Decode(2)]);
        assert_eq!([of(9, 577), of(577, 577), of(1, 0)], [Variant::Tiles; 3]);
    }
}
