// y_i = value(x_i, i), one invocation an element, in place or not, after common/in_place.wgsl: put before the shaders that map. Their `size` begins
// with n, and they say
//
//   fn value(v: f32, i: u32) -> f32

fn map(id: vec3u, groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i < size.n {
        y[i] = Real(value(x_at(i), i));
    }
}
