// The natural logarithm of 1 + x for x >= 0. WGSL's own is exact to 2^-21 only where its argument is near 1, and there 1 + x has lost the digits of x:
// for small x by 2 atanh(x / (2 + x)), whose series ends below 2^-28. Put before the shaders whose loss nears 0.
fn ln_1p(x: f32) -> f32 {
    let s = x / (2.0 + x);
    let q = s * s;
    var p = 1.0 / 15.0;
    p = p * q + 1.0 / 13.0;
    p = p * q + 1.0 / 11.0;
    p = p * q + 1.0 / 9.0;
    p = p * q + 1.0 / 7.0;
    p = p * q + 0.2;
    p = p * q + 1.0 / 3.0;
    p = p * q + 1.0;
    return select(log(1.0 + x), 2.0 * s * p, x <= 1.0);
}
