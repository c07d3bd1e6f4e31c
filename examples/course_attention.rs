//! Lessons 4 and 5 of the course: softmax in fewer passes, and attention that never has its scores in memory. See docs/course/.
//!
//! `cargo run --release --example course_attention -- 577`

#[path = "course/ladder.rs"]
mod ladder;

use escnet::graph::{Builder, Value};
use escnet::ops::attention::{AttentionOptions, Qkv, attention};
use escnet::ops::softmax::softmax;
use escnet::{Result, TensorType};
use ladder::{climb, library, numbers, rung, size};

/// Columns of the head.
const SIZE: usize = 64;
/// Keys that are met at once.
const TILE: usize = 64;

/// The largest, then the sum, then the quotients: a row is read three times.
fn three_passes(x: &[f32], y: &mut [f32], width: usize) {
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = x.iter().map(|x| (x - most).exp()).sum();
        for (y, x) in y.iter_mut().zip(x) {
            *y = (x - most).exp() / sum;
        }
    }
}

/// The largest and the sum in one pass: where a larger number comes, the sum so far fades by exp(old - new) (Milakov and Gimelshein 2018).
fn online(x: &[f32], y: &mut [f32], width: usize) {
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let (mut most, mut sum) = (f32::NEG_INFINITY, 0.0f32);
        for &x in x {
            if x > most {
                sum *= (most - x).exp();
                most = x;
            }
            sum += (x - most).exp();
        }
        for (y, x) in y.iter_mut().zip(x) {
            *y = (x - most).exp() / sum;
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Three steps, each of which reads and writes all scores: L x L numbers of memory.
fn with_scores(q: &[f32], k: &[f32], v: &[f32], y: &mut [f32], scores: &mut [f32], scale: f32) {
    let keys = k.len() / SIZE;
    for (q, row) in q.chunks_exact(SIZE).zip(scores.chunks_exact_mut(keys)) {
        for (score, k) in row.iter_mut().zip(k.chunks_exact(SIZE)) {
            *score = scale * dot(q, k);
        }
    }
    for row in scores.chunks_exact_mut(keys) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|x| *x = (*x - most).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= sum);
    }
    y.fill(0.0);
    for (row, y) in scores.chunks_exact(keys).zip(y.chunks_exact_mut(SIZE)) {
        for (p, v) in row.iter().zip(v.chunks_exact(SIZE)) {
            for (y, v) in y.iter_mut().zip(v) {
                *y += p * v;
            }
        }
    }
}

/// A tile of keys and values at a time, as FlashAttention goes (Dao et al. 2022): what a query has summed so far fades where a larger score comes. The scores of a
/// tile are all that is ever there.
fn streaming(q: &[f32], k: &[f32], v: &[f32], y: &mut [f32], scale: f32) {
    for (q, y) in q.chunks_exact(SIZE).zip(y.chunks_exact_mut(SIZE)) {
        let (mut most, mut sum, mut values) = (f32::NEG_INFINITY, 0.0f32, [0.0f32; SIZE]);
        for (k, v) in k.chunks(TILE * SIZE).zip(v.chunks(TILE * SIZE)) {
            let mut scores = [f32::NEG_INFINITY; TILE];
            for (score, k) in scores.iter_mut().zip(k.chunks_exact(SIZE)) {
                *score = scale * dot(q, k);
            }
            let larger = scores.iter().copied().fold(most, f32::max);
            let fade = (most - larger).exp();
            most = larger;
            sum *= fade;
            values.iter_mut().for_each(|value| *value *= fade);
            for (score, v) in scores.iter().zip(v.chunks_exact(SIZE)) {
                let p = (score - most).exp();
                sum += p;
                for (value, v) in values.iter_mut().zip(v) {
                    *value += p * v;
                }
            }
        }
        for (y, value) in y.iter_mut().zip(values) {
            *y = value / sum;
        }
    }
}

fn main() -> Result<()> {
    let length = size(197);
    let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();

    let x: Vec<f32> = numbers(length * length, 3).iter().map(|x| 8.0 * x).collect();
    let rows = wide(&x).chunks_exact(length).flat_map(of_row).collect::<Vec<f64>>();
    let rungs = vec![
        rung("three passes over a row", 0, |y| three_passes(&x, y, length)),
        rung("online: largest and sum in one pass", 0, |y| online(&x, y, length)),
        library("the library, one thread", 1, &[(TensorType::f32([length, length]), &x, false)], |b, v| softmax(b, v[0]))?,
    ];
    climb(&format!("softmax of {length} rows of {length}"), 12.0 * (length * length) as f64, &rows, rungs);

    let [q, k, v] = [4, 5, 6].map(|seed| numbers(length * SIZE, seed));
    let scale = 1.0 / (SIZE as f32).sqrt();
    let want = in_f64(&wide(&q), &wide(&k), &wide(&v), f64::from(scale));
    let mut scores = vec![0.0; length * length];
    let given = [&q, &k, &v].map(|numbers| (TensorType::f32([1, length, SIZE]), &numbers[..], false));
    let node = |b: &mut Builder, v: &[Value]| Ok(attention(b, Qkv::Separate { q: v[0], k: v[1], v: v[2] }, AttentionOptions::new(1, SIZE))?.y);
    let rungs = vec![
        rung("scores in memory, three steps", 4 * length * length, |y| with_scores(&q, &k, &v, y, &mut scores, scale)),
        rung("streaming: a tile of keys at a time", 4 * (TILE + SIZE), |y| streaming(&q, &k, &v, y, scale)),
        library("the library, one thread", 1, &given, node)?,
        library("the library, all threads", 0, &given, node)?,
    ];
    climb(&format!("attention of {length} tokens in a head of {SIZE}"), 4.0 * (length * length * SIZE) as f64, &want, rungs);
    Ok(())
}

fn of_row(row: &[f64]) -> Vec<f64> {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - most).exp()).sum();
    row.iter().map(|x| (x - most).exp() / sum).collect()
}

fn in_f64(q: &[f64], k: &[f64], v: &[f64], scale: f64) -> Vec<f64> {
    let of_query = |q: &[f64]| {
        let scores: Vec<f64> = k.chunks_exact(SIZE).map(|k| scale * q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>()).collect();
        let p = of_row(&scores);
        (0..SIZE).map(|column| p.iter().enumerate().map(|(key, p)| p * v[key * SIZE + column]).sum()).collect::<Vec<f64>>()
    };
    q.chunks_exact(SIZE).flat_map(of_query).collect()
}
