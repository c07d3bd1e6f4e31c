// The gradient of a map: dx_i = dy_i derivative(saved_i), with dy for x and dx for y, after common/in_place.wgsl. The shaders say
//
//   fn derivative(saved: f32) -> f32

@group(0) @binding(2) var<storage, read> saved: array<Real>;

fn map_backward(id: vec3u, groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i < size.n {
        y[i] = Real(x_at(i) * derivative(f32(saved[i])));
    }
}
