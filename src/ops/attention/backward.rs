//! The backward pass: the operator, and its f32 code. A task is a head of a key batch: it owns dK and dV of that head, and goes through
//! the blocks of all queries that read them, in order.

use super::cpu::{Pieces, blind, block_rows, cut, drop_cuts, drop_factors, matrix, on_lanes, visible};
use super::reference;
use super::tensors::{Extents, Form, Tensors, layouts};
use crate::device::cpu::gemm::{Matrix, Rhs, gemm};
use crate::device::cpu::{Args, Real, dot, vectorized};
#[cfg(feature = "cuda")]
use crate::device::cuda::Launch as CudaLaunch;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Launch;
use crate::error::Result;
use crate::op::{Check, Cost, Op};
use crate::tensor::{DType, TensorType};

/// The gradients. Inputs: dy, y, lse, then those of [`Form`]. Outputs: dqkv, or dq, dk, dv (each optional).
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackward {
    /// What was attended to, and how.
    pub form: Form,
}

/// Where queries, keys and values start among the inputs.
pub(super) const SOURCES: usize = 3;

impl AttentionBackward {
    /// The output that a part's gradient goes to.
    fn outputs(&self) -> [usize; 3] {
        if self.form.fused { [0, 0, 0] } else { [0, 1, 2] }
    }
}

impl Op for AttentionBackward {
    fn stem(&self) -> &'static str {
        "attention"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("attention");
        check.that(inputs.len() > SOURCES, "inputs", format!("more than {SOURCES}"), inputs.len())?;
        let e = self.form.check(&check, &inputs[SOURCES..])?;
        check.same("dy", &inputs[0], &inputs[SOURCES].with_shape([e.batch, e.queries, e.heads * e.size]))?;
        check.same("y", &inputs[1], &inputs[0])?;
        check.same("lse", &inputs[2], &TensorType::new(DType::F32, [e.batch, e.heads, e.queries]))?;
        Ok(inputs[SOURCES..][..self.form.sources()].to_vec())
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let e = self.form.extents(&inputs[SOURCES..]);
        Cost::streaming(self.form.scores(&e) * (10 * e.size as u64 + 9), inputs, outputs)
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[0, 1, 2]
    }

    fn exact_inputs(&self) -> &'static [usize] {
        &[2]
    }

    fn workspace(&self, inputs: &[TensorType], threads: usize) -> usize {
        let e = self.form.extents(&inputs[SOURCES..]);
        threads.min(e.batch / e.group.max(1) * e.heads) * cuts(&e, self.form.dropout.is_some()).iter().sum::<usize>()
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let tensors = Tensors::new(&self.form, args, SOURCES)?;
        let mut grads: Vec<_> = (0..self.form.sources()).map(|o| args.optional_out(o)).collect();
        grads.iter_mut().flatten().for_each(|grad| grad.fill(0.0));
        reference::backward(&tensors, args.floats(0)?, &mut grads, self.outputs(), tensors.layout);
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        let tensors = Tensors::new(&self.form, args, SOURCES)?;
        let saved = Saved { dy: args.floats(0)?, y: args.floats(1)?, lse: args.floats(2)? };
        let mut grads: Vec<_> = (0..self.form.sources()).map(|o| args.optional_out(o)).collect();
        if tensors.data[0].is_empty() || tensors.data[1].is_empty() {
            grads.iter_mut().flatten().for_each(|grad| grad.fill(0.0));
            return Ok(());
        }
        let grads: Vec<_> = grads.into_iter().map(|grad| grad.map(Pieces::new)).collect();
        let grads = self.outputs().map(|o| grads[o].as_ref());
        run(&self.form, &tensors, &saved, grads, args.workspace()?)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut CudaLaunch) -> Result<()> {
        super::cuda::backward(&self.form, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        super::wgpu::backward(&self.form, launch);
        Ok(())
    }
}

/// What the forward pass left, and dy.
struct Saved<'a> {
    dy: &'a [f32],
    y: &'a [f32],
    lse: &'a [f32],
}

/// How one lane's scratch is cut: P and dS, a row a key; dQ of the block, dK, dV, dropout's factors and a few rows of them before they
/// are transposed, and each query's lse and delta.
fn cuts(e: &Extents, dropout: bool) -> [usize; 9] {
    let (rows, head) = (block_rows(e), e.keys * e.size);
    let [factors, few] = drop_cuts(e, dropout);
    [rows * e.keys, rows * e.keys, rows * e.size, head, head, factors, few, rows, rows]
}

fn run(form: &Form, t: &Tensors<f32>, saved: &Saved, grads: [Option<&Pieces>; 3], scratch: &mut [f32]) -> Result<()> {
    let (e, layout, cuts) = (t.e, layouts(form, &t.e), cuts(&t.e, t.dropout.is_some()));
    let (lane, step, width) = (cuts.iter().sum(), block_rows(&e), e.heads * e.size);
    // Copies rows of a head to where they belong in a gradient.
    let write = |part: usize, batch: usize, first: usize, h: usize, rows: &[f32]| {
        for (r, row) in rows.chunks_exact(e.size).enumerate() {
            if let Some(grad) = grads[part] {
                // SAFETY: a head of a key batch, and of the query batches that read it, belongs to one task.
                unsafe { grad.at(layout[part].at(batch, first + r, h), e.size) }.copy_from_slice(row);
            }
        }
    };
    on_lanes(scratch, lane, e.batch / e.group * e.heads, |task, scratch| {
        let (from, h) = (task / e.heads, task % e.heads);
        let [p, ds, dq, dk, dv, factors, few, lse, delta] = cut(scratch, cuts);
        dk.fill(0.0);
        dv.fill(0.0);
        for b in from * e.group..(from + 1) * e.group {
            for start in (0..e.queries).step_by(step) {
                let queries = start..(start + step).min(e.queries);
                let (m, n) = (queries.len(), visible(t, b, &queries));
                let dq = &mut dq[..m * e.size];
                if n == 0 {
                    dq.fill(0.0);
                    write(0, b, start, h, dq);
                    continue;
                }
                let (p, ds, factors) = (&mut p[..n * m], &mut ds[..n * m], &mut factors[..if t.dropout.is_some() { n * m } else { 0 }]);
                let (q, k, v) = (matrix(t, 0, b, queries.clone(), h), matrix(t, 1, from, 0..n, h), matrix(t, 2, from, 0..n, h));
                let at = |i: usize| ((b * e.queries + i) * e.heads + h) * e.size;
                let dy = Matrix::strided(&saved.dy[at(start)..], [m, e.size], [width, 1]);
                gemm(p, k, Rhs::View(q.t()), 0.0, None)?;
                gemm(ds, v, Rhs::View(dy.t()), 0.0, None)?;
                lse[..m].copy_from_slice(&saved.lse[(b * e.heads + h) * e.queries + start..][..m]);
                vectorized(
                    #[inline(always)]
                    || {
                        for (delta, i) in delta.iter_mut().zip(queries.clone()) {
                            *delta = dot(&saved.dy[at(i)..][..e.size], &saved.y[at(i)..][..e.size]);
                        }
                    },
                );
                if let Some(dropout) = &t.dropout {
                    drop_factors(dropout, factors, few, n, |c| t.element(b, h, start + c));
                }
                softmax_backward(p, ds, factors, &lse[..m], &delta[..m], t.scale, |j| blind(t, b, j, &queries));
                let (p, ds) = (Matrix::new(p, n, m), Matrix::new(ds, n, m));
                if grads[0].is_some() {
                    gemm(dq, ds.t(), Rhs::View(k), 0.0, None)?;
                    write(0, b, start, h, dq);
                }
                gemm(&mut dk[..n * e.size], ds, Rhs::View(q), 1.0, None)?;
                gemm(&mut dv[..n * e.size], p, Rhs::View(dy), 1.0, None)?;
            }
        }
        write(1, from, 0, h, dk);
        write(2, from, 0, h, dv);
        Ok(())
    })
}

/// `p`, the products K Q^T, becomes the probabilities that met V; `ds`, the products V dy^T, becomes dS; both a row a key. The first
/// `blind(j)` queries do not see key j. `factors` are dropout's, or none.
#[inline(always)]
fn softmax_backward(p: &mut [f32], ds: &mut [f32], factors: &[f32], lse: &[f32], delta: &[f32], scale: f32, blind: impl Fn(usize) -> usize) {
    let m = lse.len();
    vectorized(
        #[inline(always)]
        || {
            for (j, (p, ds)) in p.chunks_exact_mut(m).zip(ds.chunks_exact_mut(m)).enumerate() {
                p[..blind(j)].fill(f32::NEG_INFINITY);
                for (p, &lse) in p.iter_mut().zip(lse) {
                    *p = Real::exp(*p * scale - lse);
                }
                if let Some(factors) = factors.get(j * m..(j + 1) * m) {
                    for (((p, ds), &f), &delta) in p.iter_mut().zip(ds).zip(factors).zip(delta) {
                        *ds = *p * (*ds * f - delta) * scale;
                        *p *= f;
                    }
                } else {
                    for ((p, ds), &delta) in p.iter().zip(ds).zip(delta) {
                        *ds = *p * (*ds - delta) * scale;
                    }
                }
            }
        },
    );
}
