//! Nodes whose tensors are more than may be bound at once: they are told piece by piece, each on a range of what lies in the buffers.

use super::PORTABLE;
use super::launch::{Dispatch, Launch, Operand};
use super::memory::Region;
use crate::error::{Error, Result};
use crate::tensor::{DType, Shape, TensorType};
use std::ops::Range;

/// A binding begins at a multiple of so many bytes: as many as any device asks for.
pub(super) const ALIGNMENT: u64 = PORTABLE.min_storage_buffer_offset_alignment as u64;
/// Adds what a piece summed to what those before it did.
const SUM: &str = shader!("common/sum_pieces");

/// Some of the units that a node's tensors are cut into.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    units: Range<usize>,
    of: usize,
    /// What is cut.
    tensors: Vec<Operand>,
    /// Outputs that are summed over the pieces, and what this one leaves its sums in.
    sums: Vec<(Operand, Operand)>,
}

impl Piece {
    pub(super) fn new(units: Range<usize>, of: usize, tensors: &[Operand]) -> Self {
        Piece { units, of, tensors: tensors.to_vec(), sums: Vec::new() }
    }

    fn holds(&self, tensor: Operand) -> bool {
        self.tensors.iter().any(|t| t.tensor() == tensor.tensor())
    }

    /// The first extents whose product the units divide become the piece's share of them.
    fn share(&self, ty: TensorType) -> TensorType {
        let mut before = 1;
        let last = ty.shape.iter().position(|&extent| {
            before *= extent;
            before % self.of == 0
        });
        let rest = last.map_or(&[][..], |last| &ty.shape[last + 1..]);
        let shape = Shape::new(&[&[before / self.of * self.units.len()], rest].concat());
        ty.with_shape(shape.unwrap_or(ty.shape))
    }

    fn bytes(&self, ty: TensorType) -> Range<u64> {
        let each = (ty.bytes() / self.of) as u64;
        each * self.units.start as u64..each * self.units.end as u64
    }
}

impl Launch<'_> {
    /// Tells a node whose `tensors` are `units` long, each so many equal shares of its bytes one after another: at once where they may be bound whole,
    /// else in as few pieces as there must be. In `each`, [`Launch::ty`] and [`Launch::out_ty`] say what the piece has of them; all other tensors are
    /// whole in every piece. The product of a tensor's first extents is a multiple of `units`; in a piece, these are one extent.
    pub fn in_pieces(&mut self, units: usize, tensors: &[Operand], each: impl FnMut(&mut Self)) {
        self.in_summed_pieces(units, tensors, &[], each);
    }

    /// The same where the outputs `sums` are sums over the units: the pieces' sums are added up in the pieces' order.
    pub fn in_summed_pieces(&mut self, units: usize, tensors: &[Operand], sums: &[Operand], mut each: impl FnMut(&mut Self)) {
        let Some(pieces) = self.pieces(units, 1, tensors) else { return each(self) };
        let sums: Vec<(Operand, TensorType)> = sums.iter().filter_map(|&sum| Some((sum, self.tensor(sum)?))).collect();
        let kept = self.scratched;
        for piece in pieces {
            // Pieces run one after another and share their memory.
            self.scratched = kept;
            let mut piece = Piece::new(piece, units, tensors);
            if piece.units.start > 0 {
                piece.sums = sums.iter().map(|&(sum, ty)| (sum, self.scratch(ty.len()))).collect();
            }
            let added = piece.sums.clone();
            self.piece = Some(piece);
            each(self);
            self.piece = None;
            for ((sum, part), (_, ty)) in added.into_iter().zip(&sums) {
                let stored = if ty.dtype == DType::F32 { "f32" } else { "Real" };
                self.add(Dispatch::new(SUM, "sum_pieces_f32", [sum, part]).alias("Sum", stored).size(ty.len()).over(ty.len()));
            }
        }
    }

    /// The number of the first unit that the piece has: what lies before it is with other pieces.
    pub fn first(&self) -> usize {
        self.piece.as_ref().map_or(0, |piece| piece.units.start)
    }

    /// The pieces of `units`, each from a multiple of `step` on, where the tensors are more than may be bound at once and can be cut.
    pub(super) fn pieces(&self, units: usize, step: usize, tensors: &[Operand]) -> Option<Vec<Range<usize>>> {
        let bytes: Vec<u64> = tensors.iter().filter_map(|&tensor| self.tensor(tensor)).map(|ty| ty.bytes() as u64).collect();
        let even = units > 0 && bytes.iter().all(|bytes| bytes.is_multiple_of(units as u64));
        let each: Vec<u64> = bytes.iter().map(|bytes| bytes / units.max(1) as u64).filter(|&bytes| bytes > 0).collect();
        if self.is_seen_whole(tensors) || !even { None } else { cut(units, step, &each, self.limit()) }
    }

    /// True where none of the tensors is more than may be bound at once, or a piece of them is all that is told.
    pub(super) fn is_seen_whole(&self, tensors: &[Operand]) -> bool {
        let fits = |ty: TensorType| ty.bytes() as u64 <= self.limit();
        self.piece.is_some() || tensors.iter().filter_map(|&tensor| self.tensor(tensor)).all(fits)
    }

    /// The most units of the tensors that may be bound at once.
    pub(super) fn most_units(&self, units: usize, tensors: &[Operand]) -> usize {
        let bytes = tensors.iter().filter_map(|&tensor| self.tensor(tensor)).map(|ty| ty.bytes() / units.max(1)).max();
        usize::try_from(self.limit()).unwrap_or(usize::MAX) / bytes.unwrap_or(0).max(1)
    }

    /// Bytes that may be bound at once: whole words.
    pub(super) fn limit(&self) -> u64 {
        self.abilities().binding & !3
    }

    /// A tensor's type as the piece that is told sees it; none where it is not wanted.
    pub(super) fn tensor(&self, tensor: Operand) -> Option<TensorType> {
        let whole = self.whole(tensor)?;
        Some(self.piece.as_ref().filter(|piece| piece.holds(tensor)).map_or(whole, |piece| piece.share(whole)))
    }

    fn whole(&self, tensor: Operand) -> Option<TensorType> {
        match tensor {
            Operand::Input(i) | Operand::Update(i) => Some(self.binding.input(i).ty),
            Operand::Output(o) => self.binding.output(o).map(|place| place.ty),
            Operand::Scratch(_) | Operand::Table(_) | Operand::Window { .. } | Operand::Nothing | Operand::Nowhere => None,
        }
    }

    /// Lets a launch see no more of what is cut than a piece has.
    pub(super) fn narrow(&self, dispatch: &mut Dispatch, piece: &Piece) {
        for operand in &mut dispatch.operands {
            if let Some((_, part)) = piece.sums.iter().find(|(sum, _)| sum == operand) {
                *operand = *part;
            }
            if let Some(ty) = self.whole(*operand).filter(|_| piece.holds(*operand)) {
                dispatch.ranges.push((*operand, piece.bytes(ty)));
            }
        }
    }

    /// What a launch sees of a tensor, or of scratch memory, of so many bytes that lies in `region`. What reaches to the tensor's end reaches to the
    /// region's, its guard band included: a kernel that writes too far shall be seen.
    ///
    /// # Errors
    /// [`Error::Op`] where it is more than may be bound at once.
    pub(super) fn window(&self, dispatch: &Dispatch, operand: Operand, bytes: u64, region: Region) -> Result<Region> {
        let told = dispatch.ranges.iter().find(|(of, _)| *of == operand);
        let range = told.map_or(0..bytes, |(_, range)| range.clone());
        if range.end - range.start > self.limit() {
            let (name, what) = match operand {
                Operand::Output(o) => (format!("output {o}"), self.whole(operand)),
                Operand::Input(i) | Operand::Update(i) => (format!("input {i}"), self.whole(operand)),
                _ => ("scratch memory".to_owned(), None),
            };
            let most = format!("at most {} bytes, which is what this GPU's kernels see at once", self.limit());
            let got = format!("{bytes} bytes{}; take a smaller --batch", what.map_or_else(String::new, |ty| format!(" in {ty}")));
            return Err(Error::op(self.op, name, most, got));
        }
        let end = if range.end == bytes { region.bytes } else { range.end };
        Ok(Region { at: region.at + range.start, bytes: (end - range.start).min(self.limit()), ..region })
    }
}

/// The fewest ranges of `units` of which none has more than `limit` bytes of any tensor, a unit of which is so many `bytes`, and each begins at a
/// multiple of `step` and where a binding may.
fn cut(units: usize, step: usize, bytes: &[u64], limit: u64) -> Option<Vec<Range<usize>>> {
    // Units are aligned at multiples of a power of two.
    let aligned = bytes.iter().map(|bytes| ALIGNMENT.trailing_zeros().saturating_sub(bytes.trailing_zeros())).max()?;
    let step = step << aligned.saturating_sub(step.trailing_zeros());
    let most = usize::try_from(limit / bytes.iter().max()?).unwrap_or(usize::MAX) / step * step;
    if most == 0 {
        return None;
    }
    let each = units.div_ceil(units.div_ceil(most)).next_multiple_of(step);
    Some((0..units).step_by(each).map(|start| start..units.min(start + each)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_few_and_even() {
        // 64 pictures of ResNet's first layer.
        assert_eq!(cut(64, 1, &[112 * 112 * 64 * 4], 128 << 20), Some(vec![0..32, 32..64]));
        // 23 captions' logits: a binding begins at each sixteenth row.
        assert_eq!(cut(23 * 49, 1, &[30524 * 4, 8], 128 << 20), Some(vec![0..576, 576..1127]));
        assert_eq!(cut(5, 1, &[256], 1 << 20).map(|pieces| pieces.len()), Some(1));
    }

    #[test]
    fn what_cannot_be_aligned_is_not_cut() {
        assert_eq!(cut(10, 1, &[4], 60), None);
        assert_eq!(cut(10, 1, &[1000], 900), None);
        assert_eq!(cut(10, 6, &[256], 5 * 256), None);
    }

    #[test]
    fn pieces_cover_all_units_once_and_fit() {
        for units in [1, 7, 64, 1000, 12_345] {
            for bytes in [&[4u64][..], &[2, 4], &[12, 768], &[48], &[1 << 20, 4], &[100_352]] {
                for (step, limit) in [(1, 1 << 22), (3, 4 << 20), (64, 128 << 20), (20, 77_777_776)] {
                    let Some(pieces) = cut(units, step, bytes, limit) else { continue };
                    assert!(pieces[0].start == 0 && pieces[pieces.len() - 1].end == units && pieces.windows(2).all(|w| w[0].end == w[1].start));
                    for piece in &pieces {
                        let fits = |&each: &u64| each * piece.len() as u64 <= limit && (each * piece.start as u64).is_multiple_of(ALIGNMENT);
                        assert!(bytes.iter().all(fits) && piece.start.is_multiple_of(step), "{units} {bytes:?} {step} {limit}: {pieces:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_extents_are_shared() {
        let share = |units: Range<usize>, of: usize, dims: &[usize]| {
            let ty = Piece::new(units, of, &[]).share(TensorType::f32(Shape::new(dims).unwrap()));
            ty.shape.to_vec()
        };
        assert_eq!(share(0..2, 8, &[8, 7, 7, 64]), [2, 7, 7, 64]);
        assert_eq!(share(3..8, 24, &[4, 6, 5]), [5, 5]);
        assert_eq!(share(0..2, 4, &[12, 5]), [6, 5]);
        assert_eq!(share(0..10, 30, &[2, 3, 5]), [10]);
    }
}
