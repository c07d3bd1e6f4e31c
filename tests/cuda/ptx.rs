//! Each function of `kernels/common/ptx.cuh` and `types.cuh` by a kernel of its own, `kernels/test_ptx.cu`, against what the PTX documentation says of it, in plain Rust: on the
//! stand-in, which has the kernels in it, and on a GPU, for which NVRTC compiles them.

use super::probe::{self, device};
use escnet::device::cuda::{Dispatch, Image};
use escnet::{DType, Tensor, TensorType};
use half::{bf16, f16};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

static KERNELS: Image = Image { stem: "test_ptx", source: include_str!("kernels/test_ptx.cu"), fatbin: &[] };

/// What a kernel of one warp makes of these tensors: `len` numbers of the type. None where there is no device.
fn run(kernel: &str, inputs: &[Tensor], dtype: DType, len: usize, finish: impl Fn(Dispatch) -> Dispatch + Send + Sync + 'static) -> Option<Tensor> {
    Some(probe::once(&device()?, &KERNELS, kernel, inputs, TensorType::new(dtype, [len]), move |dispatch| finish(dispatch.block(32))).unwrap())
}

fn words(words: Vec<i32>) -> Tensor {
    Tensor::from_i32([words.len()], words).unwrap()
}

fn run_words(kernel: &str, x: &[i32], len: usize) -> Option<Vec<i32>> {
    Some(run(kernel, &[words(x.to_vec())], DType::I32, len, |dispatch| dispatch)?.as_i32().unwrap().to_vec())
}

/// Words of which no byte is like another that is near.
fn distinct(len: usize) -> Vec<i32> {
    (0..len as u32).map(|i| i32::from_le_bytes(std::array::from_fn(|byte| ((4 * i + byte as u32) * 37 % 251) as u8))).collect()
}

fn bytes(words: &[i32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn cp_async_copies_what_it_is_told_and_fills_up_with_zeros() {
    let x = distinct(4 * 32);
    for size in [4, 8, 16] {
        for count in (0..=size).filter(|count| [0, 1, 4, 6, 8, 15, 16].contains(count)) {
            let finish = move |dispatch: Dispatch| dispatch.word(count as u32);
            let Some(y) = run(&format!("test_cp_async_{size}"), &[words(x.clone())], DType::I32, 4 * 32, finish) else { return };
            let (from, to) = (bytes(&x), bytes(y.as_i32().unwrap()));
            for (i, &byte) in to.iter().enumerate() {
                let at = i % 16;
                let want = if at < count {
                    from[i]
                } else if at < size {
                    0
                } else {
                    0xff
                };
                assert_eq!(byte, want, "{count} of {size} bytes: byte {at} of lane {}", i / 16);
            }
        }
    }
}

#[test]
fn cp_async_waits_for_groups_in_their_order() {
    let x = distinct(64);
    let Some(y) = run_words("test_cp_async_groups", &x, 64) else { return };
    let want: Vec<i32> = (0..64).map(|i| x[i / 32 * 32 + 31 - i % 32]).collect();
    assert_eq!(y, want);
}

#[test]
fn ldmatrix_gives_each_lane_its_pair_of_each_matrix() {
    let x = distinct(4 * 32);
    // Of 32 rows.
    let number = |row: usize, column: usize| (x[4 * row + column / 2] as u32) >> (16 * (column % 2)) & 0xffff;
    for count in [1, 2, 4] {
        for transposed in [false, true] {
            let kernel = format!("test_ldmatrix_x{count}{}", if transposed { "_trans" } else { "" });
            let Some(y) = run_words(&kernel, &x, 32 * count) else { return };
            for lane in 0..32 {
                for matrix in 0..count {
                    // Row r of matrix i is the one that lane 8 i + r told.
                    let of_matrix = |row: usize, column: usize| number((5 * (8 * matrix + row) + 3) % 32, column);
                    let (line, pair) = (lane / 4, lane % 4 * 2);
                    let [low, high] = [pair, pair + 1].map(|at| if transposed { of_matrix(at, line) } else { of_matrix(line, at) });
                    assert_eq!(y[count * lane + matrix] as u32, low | high << 16, "{kernel}: matrix {matrix} of lane {lane}");
                }
            }
        }
    }
}

/// d = a b + c, from numbers that 16 bits hold exactly, by fragments as the documentation lays them out.
fn product(kernel: &str, bits: fn(f32) -> u16) {
    let mut rng = StdRng::seed_from_u64(1);
    // Of seven bits, which bf16 holds, as sums of their products f32 does.
    let mut draw = |len: usize| (0..len).map(|_| rng.random_range(-64..64) as f32 / 8.0).collect::<Vec<f32>>();
    let (a, b, c) = (draw(16 * 16), draw(16 * 8), draw(16 * 8));
    let pair = |low: f32, high: f32| (u32::from(bits(low)) | u32::from(bits(high)) << 16) as i32;
    let (mut of_a, mut of_b, mut of_c) = (Vec::new(), Vec::new(), Vec::new());
    for lane in 0..32 {
        let (group, thread) = (lane / 4, lane % 4);
        for (row, k) in [(group, 2 * thread), (group + 8, 2 * thread), (group, 2 * thread + 8), (group + 8, 2 * thread + 8)] {
            of_a.push(pair(a[16 * row + k], a[16 * row + k + 1]));
        }
        of_b.extend([2 * thread, 2 * thread + 8].map(|k| pair(b[8 * k + group], b[8 * (k + 1) + group])));
        of_c.extend((0..4).map(|i| c[8 * (group + i / 2 * 8) + 2 * thread + i % 2]));
    }
    let inputs = [words(of_a), words(of_b), Tensor::from_f32([128], of_c).unwrap()];
    let Some(d) = run(kernel, &inputs, DType::F32, 128, |dispatch| dispatch) else { return };
    for (i, d) in d.to_f32().into_iter().enumerate() {
        let (lane, i) = (i / 4, i % 4);
        let (row, column) = (lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2);
        let want = c[8 * row + column] + (0..16).map(|k| a[16 * row + k] * b[8 * k + column]).sum::<f32>();
        assert_eq!(d, want, "{kernel}: row {row}, column {column}");
    }
}

#[test]
fn mma_multiplies_and_adds() {
    product("test_mma_m16n8k16_bf16", |x| bf16::from_f32(x).to_bits());
    product("test_mma_m16n8k16_f16", |x| f16::from_f32(x).to_bits());
}

/// Numbers that are stored, ties, those around them, tiny ones, what is too large for f16, and infinity.
fn to_be_rounded() -> Vec<f32> {
    let of = |i: usize| {
        [1.0, 1.0 + 2f32.powi(-8), 1.0 + 2f32.powi(-11), 3.0 + 2f32.powi(-7), 2f32.powi(-25), 70_000.0, f32::INFINITY, 0.1][i % 8]
            * (1.0 + (i / 8) as f32 * 1e-3)
    };
    (0..64).map(|i| if i % 3 == 0 { -of(i) } else { of(i) }).collect()
}

#[test]
fn a_number_is_rounded_to_the_nearest_and_widened_exactly() {
    for half in to_be_rounded().chunks(32) {
        let x = Tensor::from_f32([32], half.to_vec()).unwrap();
        for (kernel, dtype) in [("test_convert_bf16", DType::BF16), ("test_convert_f16", DType::F16)] {
            let Some(y) = run(kernel, std::slice::from_ref(&x), DType::I32, 64, |dispatch| dispatch) else { return };
            let both = |x: f32| match dtype {
                DType::BF16 => (bf16::from_f32(x).to_bits(), bf16::from_f32(x).to_f32()),
                _ => (f16::from_f32(x).to_bits(), f16::from_f32(x).to_f32()),
            };
            let want: Vec<i32> = half.iter().map(|&x| both(x)).flat_map(|(bits, wide)| [i32::from(bits), wide.to_bits() as i32]).collect();
            assert_eq!(y.as_i32().unwrap(), want, "{kernel}");
        }
    }
}

#[test]
fn pack_rounds_two_numbers_to_the_nearest() {
    let x = to_be_rounded();
    for (kernel, bits) in [("test_pack_bf16", (|x| bf16::from_f32(x).to_bits()) as fn(f32) -> u16), ("test_pack_f16", |x| f16::from_f32(x).to_bits())]
    {
        let Some(y) = run(kernel, &[Tensor::from_f32([64], x.clone()).unwrap()], DType::I32, 32, |dispatch| dispatch) else { return };
        let want: Vec<i32> = x.chunks(2).map(|pair| (u32::from(bits(pair[0])) | u32::from(bits(pair[1])) << 16) as i32).collect();
        assert_eq!(y.as_i32().unwrap(), want, "{kernel}");
    }
}

#[test]
fn every_wrapper_compiles_for_every_architecture() {
    probe::compiles_everywhere(&KERNELS);
}
