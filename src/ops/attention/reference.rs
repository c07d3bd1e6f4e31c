//! The maths in f64, query by query.

use super::tensors::{Layout, Tensors};

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The probabilities of one query over all keys; gives lse.
fn probabilities(t: &Tensors<f64>, b: usize, h: usize, i: usize, p: &mut [f64]) -> f64 {
    let (limit, mask) = (t.limit(b, i), t.mask(b));
    let score = |j: usize| t.scale * dot(t.row(0, b, i, h), t.row(1, b / t.e.group, j, h));
    let sees = |j: usize| j < limit && mask.is_none_or(|m| m[j] != 0);
    p.iter_mut().enumerate().for_each(|(j, p)| *p = if sees(j) { score(j) } else { f64::NEG_INFINITY });
    let top = p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        p.fill(0.0);
        return f64::INFINITY;
    }
    let sum: f64 = p.iter().map(|s| (s - top).exp()).sum();
    let lse = top + sum.ln();
    p.iter_mut().for_each(|s| *s = (*s - lse).exp());
    lse
}

fn kept(t: &Tensors<f64>, b: usize, h: usize, i: usize, j: usize) -> f64 {
    t.dropout.map_or(1.0, |mask| mask.factor(t.element(b, h, i) + j as u64))
}

/// Every (batch, head, query).
fn queries(t: &Tensors<f64>) -> impl Iterator<Item = (usize, usize, usize)> {
    let e = t.e;
    (0..e.batch).flat_map(move |b| (0..e.heads).flat_map(move |h| (0..e.queries).map(move |i| (b, h, i))))
}

/// y, lse and the mean of the probabilities.
pub fn forward(t: &Tensors<f64>, y: &mut [f64], mut lse: Option<&mut [f64]>, mut mean: Option<&mut [f64]>) {
    let e = t.e;
    let mut p = vec![0.0; e.keys];
    if let Some(mean) = &mut mean {
        mean.fill(0.0);
    }
    for (b, h, i) in queries(t) {
        let l = probabilities(t, b, h, i, &mut p);
        if let Some(lse) = &mut lse {
            lse[(b * e.heads + h) * e.queries + i] = l;
        }
        if let Some(mean) = &mut mean {
            let mean = &mut mean[(b * e.queries + i) * e.keys..][..e.keys];
            mean.iter_mut().zip(&p).for_each(|(m, p)| *m += p / e.heads as f64);
        }
        let y = &mut y[((b * e.queries + i) * e.heads + h) * e.size..][..e.size];
        for (d, y) in y.iter_mut().enumerate() {
            *y = (0..t.limit(b, i)).map(|j| p[j] * kept(t, b, h, i, j) * t.row(2, b / e.group, j, h)[d]).sum();
        }
    }
}

/// The gradients of q, k and v, added to `grads`, which hold zeros; each with its layout, and none where two share a buffer that was
/// given before. `of[part]` says which buffer a part's gradient goes to.
pub fn backward(t: &Tensors<f64>, dy: &[f64], grads: &mut [Option<&mut [f64]>], of: [usize; 3], layout: [Layout; 3]) {
    let e = t.e;
    let mut p = vec![0.0; e.keys];
    let mut add = |part: usize, at: usize, x: &[f64], factor: f64| {
        if let Some(grad) = &mut grads[of[part]] {
            grad[at..][..e.size].iter_mut().zip(x).for_each(|(g, x)| *g += factor * x);
        }
    };
    for (b, h, i) in queries(t) {
        probabilities(t, b, h, i, &mut p);
        let (q, from) = (t.row(0, b, i, h), b / e.group);
        let dy = &dy[((b * e.queries + i) * e.heads + h) * e.size..][..e.size];
        let dp = |j: usize| kept(t, b, h, i, j) * dot(dy, t.row(2, from, j, h));
        let limit = t.limit(b, i);
        let delta: f64 = (0..limit).map(|j| p[j] * dp(j)).sum();
        for (j, &p) in p[..limit].iter().enumerate() {
            let ds = t.scale * p * (dp(j) - delta);
            add(0, layout[0].at(b, i, h), t.row(1, from, j, h), ds);
            add(1, layout[1].at(from, j, h), q, ds);
            add(2, layout[2].at(from, j, h), dy, p * kept(t, b, h, i, j));
        }
    }
}
