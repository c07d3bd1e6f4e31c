//! Changes of colour as torchvision's `adjust_brightness`, `adjust_contrast`, `adjust_saturation` and `adjust_hue` make them in 8-bit
//! pictures, to the bit: those are Pillow's `Image.blend` with black, with the mean gray, with the gray picture, and a turn of the hue in
//! Pillow's 8-bit HSV.

/// One change of colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Colour {
    /// 0 is black, 1 changes nothing.
    Brightness(f32),
    /// 0 is all gray, 1 changes nothing.
    Contrast(f32),
    /// 0 is black and white, 1 changes nothing.
    Saturation(f32),
    /// A share of the colour circle, -0.5 to 0.5; 0 changes nothing.
    Hue(f64),
}

impl Colour {
    /// Changes a picture's bytes, red green blue.
    pub fn apply(self, rgb: &mut [u8]) {
        let pixels = rgb.as_chunks_mut::<3>().0;
        match self {
            Colour::Brightness(factor) => pixels.iter_mut().for_each(|p| *p = p.map(|v| blend(0, v, factor))),
            Colour::Contrast(factor) => {
                let mean = mean_gray(pixels);
                pixels.iter_mut().for_each(|p| *p = p.map(|v| blend(mean, v, factor)));
            }
            Colour::Saturation(factor) => pixels.iter_mut().for_each(|p| {
                let gray = gray(*p);
                *p = p.map(|v| blend(gray, v, factor));
            }),
            Colour::Hue(turn) => {
                // The way there and back is not exact, but torchvision takes it also where the turn is 0.
                let turn = (turn * 255.0) as i32 as u8;
                pixels.iter_mut().for_each(|p| {
                    let [h, s, v] = hsv(*p);
                    *p = rgb_of([h.wrapping_add(turn), s, v]);
                });
            }
        }
    }
}

/// `from + factor (to - from)`, in f32, cut to a byte.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
}

/// Luma of ITU-R 601-2, in 16 bits of fraction, rounded.
fn gray([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

fn mean_gray(pixels: &[[u8; 3]]) -> u8 {
    let sum: u64 = pixels.iter().map(|&p| u64::from(gray(p))).sum();
    (sum as f64 / pixels.len().max(1) as f64 + 0.5) as u8
}

/// Hue, saturation and value, each of 0..=255, rounded down.
fn hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let chroma = f32::from(most - least);
    let [rc, gc, bc] = [r, g, b].map(|v| f32::from(most - v) / chroma);
    let sixths = if r == most {
        bc - gc
    } else if g == most {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let hue = ((f64::from(sixths) / 6.0 + 1.0) % 1.0) as f32;
    let saturation = chroma / f32::from(most);
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

/// The inverse of [`hsv`], rounded.
fn rgb_of([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sixths = f64::from(h) * 6.0 / 255.0;
    let sector = sixths.floor();
    let (f, saturation) = (f64::from((sixths - sector) as f32), f64::from((f64::from(s) / 255.0) as f32));
    let value = |share: f64| (f64::from(v) * share).round() as u8;
    let (p, q, t) = (value(1.0 - saturation), value(1.0 - saturation * f), value(1.0 - saturation * (1.0 - f)));
    match sector as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
