//! Many tensors gone through in few launches: those that lie in the same allocations share one. `shaders/common/sweep.wgsl` is the other side.

use super::launch::{Dispatch, Launch, Operand};
use super::memory::Region;
use crate::error::Result;

/// Words of a row before the places of its tensors.
const HEAD: usize = 5;

/// Tensors of one length that are gone through side by side.
#[derive(Debug, Clone)]
pub struct Side {
    /// The inputs that they are.
    pub inputs: Vec<usize>,
    /// What the kernel wants to know of them.
    pub notes: [u32; 2],
}

/// One launch: rows of tensors that lie in the same allocations.
struct Sweep<'a> {
    regions: Vec<&'a Region>,
    operands: Vec<Operand>,
    /// The row of each workgroup.
    owners: Vec<u32>,
    /// Of each: its first workgroup, its elements, the workgroups of all launches before its first, the notes, where its tensors start.
    rows: Vec<u32>,
}

impl Dispatch {
    /// Adds the `const` lines that `common/sweep.wgsl` asks for: so many tensors side by side, so many elements a workgroup.
    pub fn swept(self, tensors: usize, block: usize) -> Self {
        self.constant("SIDES", format!("{tensors}u")).constant("BLOCK", format!("{block}u"))
    }
}

impl<'a> Launch<'a> {
    /// Adds launches of `kernel` over all sides, `block` elements a workgroup; the first `updates` tensors of each are written. The kernel's own operands
    /// stand before the table, at most one, and `behind` what is swept.
    ///
    /// # Errors
    /// [`crate::Error::Graph`] where a tensor has no memory.
    pub fn sweep(&mut self, kernel: &Dispatch, sides: &[Side], updates: usize, block: usize, behind: &[Operand]) -> Result<()> {
        for Sweep { operands, owners, rows, .. } in self.sweeps(sides, updates, block)? {
            let workgroups = owners.len();
            let table = self.table([vec![workgroups as u32], owners, rows].concat());
            let mut dispatch = kernel.clone().rows(workgroups);
            dispatch.operands.extend([table].into_iter().chain(operands).chain(behind.iter().copied()));
            self.add(dispatch);
        }
        Ok(())
    }

    fn sweeps(&self, sides: &[Side], updates: usize, block: usize) -> Result<Vec<Sweep<'a>>> {
        let words = |bytes: u64| (bytes / 4) as usize;
        let most = words(self.abilities().binding);
        let mut sweeps: Vec<Sweep> = Vec::new();
        let mut before = 0;
        // What holds nothing has no buffer, and nothing is to be done with it.
        for Side { inputs, notes } in sides.iter().filter(|side| !self.ty(side.inputs[0]).is_empty()) {
            let regions = inputs.iter().map(|&i| self.region(i)).collect::<Result<Vec<_>>>()?;
            let len = self.ty(inputs[0]).len();
            // What is too long to be bound at once is cut where a workgroup begins: blocks are multiples of what any binding must be aligned to.
            let whole = regions.iter().all(|region| words(region.buffer.size()) <= most);
            let part = if whole { len } else { (most / block).max(1) * block };
            for start in (0..len).step_by(part.max(1)) {
                let count = part.min(len - start);
                let at = sweeps.iter().position(|sweep| whole && sweep.is_in(&regions)).unwrap_or_else(|| {
                    let window = |(n, (&input, region)): (usize, (&usize, &&Region))| {
                        let (from, words) = if whole { (0, words(region.buffer.size())) } else { (words(region.at) + start, count) };
                        Operand::Window { input, update: n < updates, from, words }
                    };
                    let operands = inputs.iter().zip(&regions).enumerate().map(window).collect();
                    sweeps.push(Sweep { regions: regions.clone(), operands, owners: Vec::new(), rows: Vec::new() });
                    sweeps.len() - 1
                });
                let sweep = &mut sweeps[at];
                let (row, blocks) = (sweep.rows.len() / (HEAD + inputs.len()), count.div_ceil(block));
                sweep.rows.extend([sweep.owners.len() as u32, count as u32, before, notes[0], notes[1]]);
                sweep.rows.extend(regions.iter().map(|region| if whole { words(region.at) as u32 } else { 0 }));
                sweep.owners.extend(std::iter::repeat_n(row as u32, blocks));
                before += blocks as u32;
            }
        }
        Ok(sweeps)
    }
}

impl Sweep<'_> {
    fn is_in(&self, regions: &[&Region]) -> bool {
        self.regions.iter().zip(regions).all(|(own, region)| own.buffer == region.buffer)
    }
}
