//! Many tensors gone through in one launch. `kernels/common/sweep.cuh` is the other side.

use super::launch::{Dispatch, Launch, Operand};

/// Elements of a block.
const TASK: usize = 1024;

/// Tensors of one length that are gone through side by side.
#[derive(Debug, Clone)]
pub struct Side {
    /// The inputs that they are.
    pub inputs: Vec<usize>,
    /// What the kernel wants to know of them.
    pub notes: [usize; 2],
}

impl Launch<'_> {
    /// Adds a launch over all sides; gives how many blocks it has. `finish` adds what comes behind the three tables.
    pub fn sweep(&mut self, kernel: Dispatch, sides: &[Side], finish: impl FnOnce(Dispatch) -> Dispatch) -> usize {
        let (mut tasks, mut sets, mut pointers) = (Vec::new(), Vec::new(), Vec::new());
        for (set, Side { inputs, notes }) in sides.iter().enumerate() {
            let len = inputs.first().map_or(0, |&i| self.ty(i).len());
            tasks.extend((0..len.div_ceil(TASK)).flat_map(|part| [set, part]));
            sets.extend([len, notes[0], notes[1], 0]);
            pointers.extend(inputs.iter().copied());
        }
        let blocks = tasks.len() / 2;
        let tables: [Operand; 3] = [self.table(tasks), self.table(sets), self.pointers(pointers)];
        self.add(finish(kernel.tensors(tables)).rows(blocks));
        blocks
    }

    /// Blocks of a launch over tensors of these inputs, each a side of its own.
    pub fn swept(&self, inputs: impl Iterator<Item = usize>) -> usize {
        inputs.map(|i| self.ty(i).len().div_ceil(TASK)).sum()
    }
}
