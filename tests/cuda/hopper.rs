//! The instructions of sm_90a, each through its function in kernels/common/hopper.cuh, against what the PTX manual says of them.

use super::probe::run;
use super::{is_required, nvrtc};
use escnet::device::cuda::nvrtc::{OPTIONS, Target};
use escnet::device::cuda::source::{HEADERS, Source};
use escnet::device::cuda::{Dispatch, Image, Operand, Swizzle, TensorMap, Tile, adapters};
use escnet::{DType, Device, Error, Tensor, TensorType};
use half::{bf16, f16};

static IMAGE: Image = Image { stem: "hopper", source: include_str!("kernels/hopper.cu"), fatbin: &[] };
/// Bytes of shared memory that a tile has there, and a barrier behind it; that two factors have.
const TILE: usize = 32_776;
const FACTORS: usize = 65_536;

/// A GPU that has these instructions, or the stand-in for one.
fn device() -> Option<Device> {
    let found = adapters().first().is_some_and(|adapter| adapter.arch == 90);
    assert!(found || !is_required(), "no device of compute capability 9.0");
    if found { Some(Device::cuda(None).unwrap()) } else { None }
}

fn kernel(name: impl Into<String>) -> Dispatch {
    Dispatch::new(&IMAGE, name).block(128)
}

fn tensor_of(words: &[u32]) -> Tensor {
    Tensor::from_i32([words.len()], words.iter().map(|&word| word as i32).collect()).unwrap()
}

/// What the launches leave in so many words.
fn words(device: &Device, inputs: &[Tensor], len: usize, dispatches: Vec<Dispatch>) -> Vec<u32> {
    let out =
        run(device, inputs, &[TensorType::new(DType::I32, [len])], move |launch| dispatches.iter().for_each(|d| launch.add(d.clone()))).unwrap();
    out[0].as_i32().unwrap().iter().map(|&word| word as u32).collect()
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn words_of(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).collect()
}

const SWIZZLES: [(Swizzle, usize); 4] = [(Swizzle::None, 0), (Swizzle::Bytes32, 32), (Swizzle::Bytes64, 64), (Swizzle::Bytes128, 128)];

/// Where a byte lies that would be at `at` without a swizzle of this width.
fn swizzled(at: usize, width: usize) -> usize {
    at ^ ((at >> 7) & (width / 16).saturating_sub(1)) << 4
}

/// Some tensor of `rank` dimensions whose rows are longer than its elements, and a tile of it.
fn map_of(operand: Operand, dtype: DType, rank: usize, (swizzle, width): (Swizzle, usize)) -> TensorMap {
    let row = if width == 0 { 48 } else { width };
    let (dims, mut strides) = (vec![80 - 3 * dtype.size(), 10, 3, 2, 2], vec![336]);
    (1..4).for_each(|d| strides.push(strides[d - 1] * dims[d] + 16));
    let tile = [row / dtype.size(), 8, 2, 1, 2];
    let tile = Tile::Box(tile[..rank].to_vec());
    TensorMap { operand, dtype, dims: dims[..rank].to_vec(), strides: strides[..rank - 1].to_vec(), tile, swizzle }
}

/// Each element of the map's tile at these coordinates, of pixels with these offsets: the byte where it lies in the tile before it is swizzled, and where in memory
/// if it is in the tensor.
fn elements(map: &TensorMap, at: &[i32], offsets: [i32; 2]) -> Vec<(usize, Option<usize>)> {
    let size = map.dtype.size();
    let place = |coordinates: &[i32]| {
        let inside = coordinates.iter().zip(&map.dims).all(|(&i, &extent)| usize::try_from(i).is_ok_and(|i| i < extent));
        let strides = std::iter::once(&size).chain(&map.strides);
        inside.then(|| coordinates.iter().zip(strides).map(|(&i, stride)| i as usize * stride).sum())
    };
    let in_box = |tile: &[usize], n: usize| {
        let mut left = n;
        let along = |(&extent, &first): (&usize, &i32)| {
            let i = first + (left % extent) as i32;
            left /= extent;
            i
        };
        tile.iter().zip(at).map(along).collect::<Vec<i32>>()
    };
    // All places of the filter are numbered, through all pictures.
    let in_pixels = |channels: usize, corners: [[isize; 2]; 2], step: usize, n: usize| {
        let [first, last, step] = [corners[0].map(|c| c as i32), corners[1].map(|c| c as i32), [step as i32; 2]];
        let places = [0, 1].map(|d| (map.dims[1 + d] as i32 - 1 + last[d] - first[d]) / step[d] + 1);
        let [across, down] = [0, 1].map(|d| (at[1 + d] - first[d]) / step[d]);
        let number = (at[3] * places[1] + down) * places[0] + across + (n / channels) as i32;
        let at_place = [number % places[0], number / places[0] % places[1]];
        let [w, h] = [0, 1].map(|d| first[d] + at_place[d] * step[d] + offsets[d]);
        vec![at[0] + (n % channels) as i32, w, h, number / places[0] / places[1]]
    };
    let coordinates = |n: usize| match &map.tile {
        Tile::Box(tile) => in_box(tile, n),
        &Tile::Pixels { channels, corners, step, .. } => in_pixels(channels, corners, step, n),
    };
    (0..tile_bytes(map) / size).map(|n| (n * size, place(&coordinates(n)))).collect()
}

fn tile_bytes(map: &TensorMap) -> usize {
    let elements = match &map.tile {
        Tile::Box(tile) => tile.iter().product(),
        Tile::Pixels { pixels, channels, .. } => pixels * channels,
    };
    elements * map.dtype.size()
}

/// The tile as it lies in shared memory.
fn image_of(map: &TensorMap, width: usize, memory: &[u8], at: &[i32], offsets: [i32; 2]) -> Vec<u32> {
    let (mut image, size) = (vec![0; tile_bytes(map)], map.dtype.size());
    for (to, from) in elements(map, at, offsets) {
        let to = swizzled(to, width);
        from.inspect(|&from| image[to..to + size].copy_from_slice(&memory[from..from + size]));
    }
    words_of(&image)
}

/// Words that differ from one another and hold no zero.
fn some_words(len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| i.wrapping_mul(0x9e37_79b9) | 0x0101_0101).collect()
}

const CORNERS: [[i32; 5]; 4] = [[0, 0, 0, 0, 0], [16, 1, 1, 1, 0], [-8, -3, -1, 0, -1], [72, 5, 2, 1, 1]];

#[test]
fn tiles_are_loaded() {
    let Some(device) = device() else { return };
    let source = some_words(336 * 10 * 3 * 2 * 2 / 4 + 400);
    let memory = bytes_of(&source);
    for rank in 2..6 {
        for swizzle in SWIZZLES {
            for dtype in [DType::BF16, DType::F16, DType::F32] {
                for at in CORNERS {
                    let map = map_of(Operand::Input(0), dtype, rank, swizzle);
                    let bytes = tile_bytes(&map);
                    let expected = image_of(&map, swizzle.1, &memory, &at, [0; 2]);
                    let load = kernel(format!("hopper_load_{rank}")).shared(TILE).tensor_map(map).tensors([Operand::Output(0)]).word(bytes as u32);
                    let load = at[..rank].iter().fold(load, |load, &i| load.word(i as u32));
                    let got = words(&device, &[tensor_of(&source)], bytes / 4, vec![load]);
                    assert_eq!(got, expected, "{rank} dimensions, {swizzle:?}, {dtype}, {at:?}");
                }
            }
        }
    }
}

#[test]
fn tiles_are_stored_within_the_tensor() {
    let Some(device) = device() else { return };
    const UNTOUCHED: u32 = 0x7777_7777;
    for rank in 2..4 {
        for swizzle in SWIZZLES {
            for at in CORNERS {
                let map = map_of(Operand::Output(0), DType::BF16, rank, swizzle);
                let bytes = tile_bytes(&map);
                let tile = some_words(bytes / 4);
                let image = bytes_of(&tile);
                let len = 336 * 10 * 3 / 4 + 40;
                let mut expected = bytes_of(&vec![UNTOUCHED; len]);
                for (from, to) in elements(&map, &at, [0; 2]) {
                    let from = swizzled(from, swizzle.1);
                    to.inspect(|&to| expected[to..to + 2].copy_from_slice(&image[from..from + 2]));
                }
                let fill = kernel("hopper_fill").tensors([Operand::Output(0)]).word(len as u32).word(UNTOUCHED);
                let store = kernel(format!("hopper_store_{rank}")).shared(TILE).tensor_map(map).tensors([Operand::Input(0)]).word(bytes as u32);
                let store = at[..rank].iter().fold(store, |store, &i| store.word(i as u32));
                let got = words(&device, &[tensor_of(&tile)], len, vec![fill, store]);
                assert_eq!(got, words_of(&expected), "{rank} dimensions, {swizzle:?}, {at:?}");
            }
        }
    }
}

/// How a factor lies: `i` is along M or N.
#[derive(Debug, Clone, Copy)]
struct Place {
    across: bool,
    swizzle: usize,
    offset: usize,
    leading: usize,
    stride: usize,
}

impl Place {
    fn new(across: bool, swizzle: usize, step: usize) -> Self {
        match (across, swizzle) {
            (_, 0) => Place { across, swizzle, offset: 16 * step, leading: 128, stride: 256 },
            (false, _) => Place { across, swizzle, offset: (32 * step) % swizzle, leading: 0, stride: 8 * swizzle },
            (true, _) => Place { across, swizzle, offset: 16 * swizzle * step, leading: 24 * swizzle, stride: 8 * swizzle },
        }
    }

    fn byte(self, i: usize, k: usize) -> usize {
        let Place { across, swizzle, offset, leading, stride } = self;
        let at = match (across, swizzle) {
            (false, 0) => i / 8 * stride + i % 8 * 16 + k / 8 * leading + k % 8 * 2,
            (false, width) => i / 8 * stride + i % 8 * width + 2 * k,
            (true, 0) => i / 8 * stride + k / 8 * leading + k % 8 * 16 + i % 8 * 2,
            (true, width) => i / (width / 2) * leading + i % (width / 2) * 2 + k / 8 * stride + k % 8 * width,
        };
        swizzled(offset + at, swizzle)
    }

    fn image(self, numbers: &[Vec<i32>], dtype: DType) -> Vec<u32> {
        let mut image = vec![0xff; FACTORS / 2];
        for (i, row) in numbers.iter().enumerate() {
            for (k, &number) in row.iter().enumerate() {
                image[self.byte(i, k)..][..2].copy_from_slice(&bits(number, dtype).to_le_bytes());
            }
        }
        words_of(&image)
    }

    fn arguments(self) -> Vec<usize> {
        vec![self.swizzle, self.offset, self.leading, self.stride]
    }
}

fn bits(number: i32, dtype: DType) -> u16 {
    if dtype == DType::F16 { f16::from_f32(number as f32).to_bits() } else { bf16::from_f32(number as f32).to_bits() }
}

/// Small integers, whose products and sums are exact.
fn some_numbers(rows: usize, seed: usize) -> Vec<Vec<i32>> {
    (0..rows).map(|i| (0..16).map(|k| (((i * 37 + k * 101 + seed) * 2_654_435_761) >> 7) as i32 % 9 - 4).collect()).collect()
}

#[test]
fn warpgroups_multiply() {
    let Some(device) = device() else { return };
    for n in [64, 128, 256] {
        for dtype in [DType::BF16, DType::F16] {
            let (a, b) = (some_numbers(64, 1), some_numbers(n, 2));
            let expected: Vec<f32> = (0..128)
                .flat_map(|t| (0..n / 2).map(move |i| (t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, i / 4 * 8 + t % 4 * 2 + i % 2)))
                .map(|(row, column)| 2.0 * (0..16).map(|k| (a[row][k] * b[column][k]) as f32).sum::<f32>())
                .collect();
            let multiplied = |name: String, inputs: [Vec<u32>; 2], places: &[Place]| {
                let product = kernel(format!("{name}_{dtype}")).shared(FACTORS).tensors([Operand::Input(0), Operand::Input(1), Operand::Output(0)]);
                let product = places.iter().fold(product, |product, place| product.structure(place.arguments()));
                let got = words(&device, &inputs.map(|words| tensor_of(&words)), expected.len(), vec![product]);
                let got: Vec<f32> = got.into_iter().map(f32::from_bits).collect();
                assert_eq!(got, expected, "{name} {dtype} {places:?}");
            };
            for swizzle in [0, 32, 64, 128] {
                for (step, other) in [(0, 0), (1, 128), (3, 64)] {
                    let way = |across: bool| if across { 'm' } else { 'k' };
                    for (a_across, b_across) in [(false, false), (false, true), (true, false), (true, true)] {
                        let (of_a, of_b) = (Place::new(a_across, swizzle, step), Place::new(b_across, other, step % 2));
                        let inputs = [of_a.image(&a, dtype), of_b.image(&b, dtype)];
                        multiplied(format!("hopper_wgmma_{n}_{}{}", way(a_across), way(b_across)), inputs, &[of_a, of_b]);
                    }
                }
                for b_across in [false, true] {
                    let of_b = Place::new(b_across, swizzle, 1);
                    // Two numbers a register: a row, the row eight below, both eight columns on.
                    let register = |(t, r): (usize, usize)| {
                        let (row, k) = (t / 32 * 16 + t % 32 / 4 + r % 2 * 8, t % 4 * 2 + r / 2 * 8);
                        u32::from(bits(a[row][k], dtype)) | u32::from(bits(a[row][k + 1], dtype)) << 16
                    };
                    let fragments = (0..128).flat_map(|t| (0..4).map(move |r| (t, r))).map(register).collect();
                    multiplied(format!("hopper_wgmma_{n}_r{}", if b_across { 'm' } else { 'k' }), [fragments, of_b.image(&b, dtype)], &[of_b]);
                }
            }
        }
    }
}

#[test]
fn barriers_go_through_their_phases() {
    let Some(device) = device() else { return };
    for rounds in [1, 2, 7] {
        let got = words(&device, &[], 128, vec![kernel("hopper_barriers").tensors([Operand::Output(0)]).word(rounds)]);
        let sum = |t: u32| if t < 32 { 0 } else { (0..rounds).map(|r| r * r + (t + r) % 32).sum() };
        assert_eq!(got, (0..128).map(sum).collect::<Vec<u32>>());
    }
}

#[test]
fn warps_elect_and_pass_on() {
    let Some(device) = device() else { return };
    let got = words(&device, &[], 384, vec![kernel("hopper_warps").block(384).tensors([Operand::Output(0)])]);
    let expected = |t: u32| {
        1 << 16
            | if t < 64 {
                63 - t
            } else if t < 128 {
                3 * (127 - t)
            } else {
                0
            }
    };
    assert_eq!(got, (0..384).map(expected).collect::<Vec<_>>());
}

#[test]
fn blocks_of_a_cluster_reach_each_other() {
    let Some(device) = device() else { return };
    let got = words(&device, &[], 512, vec![kernel("hopper_cluster").rows(4).cluster(2).tensors([Operand::Output(0)])]);
    let expected = |block: u32, t: u32| 1000 * ((block % 2) ^ 1) + 127 - t;
    assert_eq!(got, (0..4).flat_map(|block| (0..128).map(move |t| expected(block, t))).collect::<Vec<_>>());
}

#[test]
fn a_tile_is_loaded_into_both_blocks_of_a_cluster() {
    let Some(device) = device() else { return };
    let source = some_words(500);
    let memory = bytes_of(&source);
    let (dims, strides, tile) = (vec![40, 6, 2], vec![96, 608], Tile::Box(vec![32, 4, 1]));
    let map = TensorMap { operand: Operand::Input(0), dtype: DType::BF16, dims, strides, tile, swizzle: Swizzle::None };
    let bytes = tile_bytes(&map);
    let both: Vec<u32> = (0..2).flat_map(|rank| image_of(&map, 0, &memory, &[8, -1, rank], [0; 2])).collect();
    let load = kernel("hopper_multicast").rows(2).cluster(2).shared(TILE).tensor_map(map).tensors([Operand::Output(0)]).word(bytes as u32);
    assert_eq!(words(&device, &[tensor_of(&source)], bytes, vec![load]), [both.clone(), both].concat());
}

/// Pictures of 9 x 7 pixels of some channels, three of them, and a filter that goes over them.
fn pictures(dtype: DType, corners: [[isize; 2]; 2], step: usize, (swizzle, width): (Swizzle, usize)) -> TensorMap {
    let row = if width == 0 { 48 } else { width };
    let tile = Tile::Pixels { pixels: 45, channels: row / dtype.size(), corners, step };
    TensorMap {
        operand: Operand::Input(0),
        dtype,
        dims: vec![80 - 3 * dtype.size(), 9, 7, 3],
        strides: vec![336, 336 * 9 + 16, 336 * 9 * 7 + 160],
        tile,
        swizzle,
    }
}

#[test]
fn pixels_under_a_filter_are_loaded() {
    let Some(device) = device() else { return };
    let source = some_words((336 * 9 * 7 + 160) * 3 / 4);
    let memory = bytes_of(&source);
    // Corners, steps, where the first pixel lies (c, w, h, picture), which tap. Columns of 45 pixels are most of a picture or more than two; they begin and end
    // within lines.
    type Filter = ([[isize; 2]; 2], usize, [i32; 4], [i32; 2]);
    let filters: [Filter; 11] = [
        ([[0, 0], [0, 0]], 1, [0, 0, 0, 0], [0, 0]),
        ([[0, 0], [0, 0]], 1, [8, 5, 3, 0], [0, 0]),
        ([[-1, -1], [-1, -1]], 1, [0, -1, -1, 0], [0, 0]),
        ([[-1, -1], [-1, -1]], 1, [16, 4, 2, 1], [2, 1]),
        ([[-2, 1], [0, -3]], 1, [0, 8, 3, 1], [3, 0]),
        ([[0, 0], [-6, -4]], 1, [0, 2, 1, 0], [6, 4]),
        ([[-3, -3], [-3, -3]], 2, [32, 1, -1, 0], [5, 6]),
        ([[-1, -1], [-1, -1]], 2, [-8, 7, 5, 0], [2, 2]),
        ([[0, -2], [-1, 1]], 3, [0, 6, 4, 2], [1, 0]),
        ([[-128, -128], [127, 127]], 8, [0, 0, 0, 0], [0, 0]),
        ([[-8, -6], [0, 0]], 1, [72, 3, 6, 2], [255, 255]),
    ];
    for swizzle in SWIZZLES {
        for dtype in [DType::BF16, DType::F16, DType::F32] {
            for (corners, step, at, offsets) in filters {
                let map = pictures(dtype, corners, step, swizzle);
                let bytes = tile_bytes(&map);
                let expected = image_of(&map, swizzle.1, &memory, &at, offsets);
                let load = kernel("hopper_load_im2col").shared(TILE).tensor_map(map).tensors([Operand::Output(0)]).word(bytes as u32);
                let load = at.iter().chain(&offsets).fold(load, |load, &i| load.word(i as u32));
                let got = words(&device, &[tensor_of(&source)], bytes / 4, vec![load]);
                assert_eq!(got, expected, "{swizzle:?}, {dtype}, {corners:?} by {step}, {at:?} + {offsets:?}");
            }
        }
    }
}

#[test]
fn maps_that_no_driver_takes_are_errors() {
    let Some(device) = device() else { return };
    let good = map_of(Operand::Input(0), DType::BF16, 3, (Swizzle::Bytes128, 128));
    let tile = |extents: [usize; 3]| TensorMap { tile: Tile::Box(extents.to_vec()), ..good.clone() };
    let seen = pictures(DType::BF16, [[-1, -1], [-1, -1]], 1, (Swizzle::Bytes128, 128));
    let filter = |pixels: usize, channels: usize, corners: [[isize; 2]; 2], step: usize| {
        let tile = Tile::Pixels { pixels, channels, corners, step };
        TensorMap { tile, ..seen.clone() }
    };
    let (small, none) = ([[-1, -1], [-1, -1]], Swizzle::None);
    let wrong = [
        (TensorMap { strides: vec![336, 1000], ..good.clone() }, "a stride of 1000"),
        (TensorMap { strides: vec![336], ..good.clone() }, "one stride fewer"),
        (tile([64, 257, 1]), "a box of 257"),
        (tile([68, 8, 1]), "rows of 136 bytes"),
        (tile([128, 8, 1]), "rows of 256 bytes"),
        (TensorMap { dims: vec![8, 0, 1], ..good.clone() }, "an extent of 0"),
        (TensorMap { operand: Operand::Nothing, ..good.clone() }, "none of the device's"),
        (TensorMap { dims: vec![80, 9, 7], strides: vec![336, 3024], ..seen.clone() }, "as many extents"),
        (filter(1025, 64, small, 1), "1025 pixels"),
        (filter(0, 64, small, 1), "0 pixels"),
        (TensorMap { swizzle: none, ..filter(16, 264, small, 1) }, "264 channels"),
        (filter(16, 72, small, 1), "rows of 144 bytes"),
        (filter(16, 60, small, 1), "rows of 120 bytes"),
        (filter(16, 64, small, 9), "a step of 9"),
        (filter(16, 64, small, 0), "a step of 0"),
        (filter(16, 64, [[-129, 0], [0, 0]], 1), "a corner at -129"),
        (filter(16, 64, [[0, 0], [0, 128]], 1), "a corner at 128"),
        (filter(16, 64, [[0, 4], [0, -3]], 1), "it is empty"),
    ];
    for (map, why) in wrong {
        let load = kernel("hopper_load_3").shared(TILE).tensor_map(map.clone()).tensors([Operand::Output(0)]).word(0).word(0).word(0).word(0);
        let got = run(&device, &[tensor_of(&some_words(4000))], &[TensorType::new(DType::I32, [8])], move |launch| launch.add(load.clone()));
        let Err(Error::Graph { name, .. }) = &got else { panic!("{map:?}: {got:?}") };
        assert_eq!(name, "hopper_load_3");
        // In these words by the stand-in.
        let said = got.map_err(|e| e.to_string()).unwrap_err();
        assert!(said.contains(why) || !device.describe().contains("CUDA on CPU"), "{map:?}: {said}");
    }
}

#[test]
fn a_compiler_takes_every_instruction_and_leaves_them_out_elsewhere() {
    let Some(nvrtc) = nvrtc() else { return };
    let source = Source::new(IMAGE.stem, IMAGE.source, HEADERS);
    let options = [&OPTIONS[..], &["--ptxas-options=-v"]].concat();
    let compiled = nvrtc.compile(&source, Target::Cubin("90a"), &options).unwrap();
    let has = |code: &[u8]| code.windows(14).any(|w| w == b"hopper_cluster");
    assert!(has(&compiled.code));
    // The assembler says so where it spills, ignores setmaxnreg, or does products one by one.
    for line in compiled.log.lines() {
        assert!(!line.contains("spill") || line.contains(" 0 bytes spill stores, 0 bytes spill loads"), "{line}");
        assert!(!line.contains("Potential Performance Loss"), "{line}");
    }
    for arch in ["80", "100"] {
        assert!(!has(&nvrtc.compile(&source, Target::Cubin(arch), &OPTIONS).unwrap().code), "sm_{arch}");
    }
}
