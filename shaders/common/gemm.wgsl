// C = A B in tiles, A [M, K], B [K, N]: put before the shaders that are matrix products. They say where the numbers are:
//
//   fn a_at(batch: u32, row: u32, k: u32) -> f32     element of A; called within bounds only
//   fn b_at(batch: u32, k: u32, column: u32) -> f32
//   fn put(batch: u32, row: u32, column: u32, sum: f32)
//
// A workgroup makes a tile of C of TILE x TILE = 64 x 64: 16 x 16 invocations with 4 x 4 sums each in registers. It walks along K in steps of
// TILE_K = 16, each step loading a strip of A and one of B into workgroup memory (8 KiB together), so that each number of A and B is read from
// memory M / 64 or N / 64 times. Of a step an invocation reads 8 numbers from workgroup memory for 16 multiply-adds. `A_ALONG_K` and `B_ALONG_K`
// say in which direction a factor lies in memory: neighbours load neighbours. 2 M N K FLOPs; expected bound: arithmetic, from M, N, K of some 100 on.
//
// Sums along K are taken in order, so that a result depends on nothing but its factors.

const TILE_K = 16u;

var<workgroup> strip_a: array<f32, TILE * TILE_K>;
var<workgroup> strip_b: array<f32, TILE * TILE_K>;

fn gemm(lane: u32, tile: vec3u, m: u32, n: u32, k: u32) {
    let row = tile.y * TILE;
    let column = tile.x * TILE;
    let r = lane / 16u * 4u;
    let c = lane % 16u * 4u;
    var sums: array<vec4f, 4>;
    for (var start = 0u; start < k; start += TILE_K) {
        for (var i = lane; i < TILE * TILE_K; i += WIDTH) {
            let p = select(i / TILE, i % TILE_K, A_ALONG_K);
            let at = select(i % TILE, i / TILE_K, A_ALONG_K);
            var a = 0.0;
            if row + at < m && start + p < k {
                a = a_at(tile.z, row + at, start + p);
            }
            strip_a[p * TILE + at] = a;
        }
        for (var i = lane; i < TILE * TILE_K; i += WIDTH) {
            let p = select(i / TILE, i % TILE_K, B_ALONG_K);
            let at = select(i % TILE, i / TILE_K, B_ALONG_K);
            var b = 0.0;
            if column + at < n && start + p < k {
                b = b_at(tile.z, start + p, column + at);
            }
            strip_b[p * TILE + at] = b;
        }
        workgroupBarrier();
        for (var p = 0u; p < TILE_K; p++) {
            let i = p * TILE + r;
            let j = p * TILE + c;
            let b = vec4f(strip_b[j], strip_b[j + 1u], strip_b[j + 2u], strip_b[j + 3u]);
            sums[0] += strip_a[i] * b;
            sums[1] += strip_a[i + 1u] * b;
            sums[2] += strip_a[i + 2u] * b;
            sums[3] += strip_a[i + 3u] * b;
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            if row + r + i < m && column + c + j < n {
                put(tile.z, row + r + i, column + c + j, sums[i][j]);
            }
        }
    }
}
