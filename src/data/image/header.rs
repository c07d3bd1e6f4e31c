//! What a file says of itself, read before any memory is taken for its pixels: format, size, and whether so few bytes can
//! hold so large a picture.
//!
//! Each format has a price below which no pixel is sold. A file that claims more pixels than its length can pay for is
//! lying, so it is refused; no honest picture is, however flat:
//!
//! | Format | The least a picture costs | Why |
//! |---|---|---|
//! | JPEG, sequential | 2 bits per 8x8 block of each component | one Huffman code for the DC difference, one for "end of block"; no code is shorter than a bit |
//! | JPEG, progressive | 1 bit per 8x8 block of each component | the DC code; AC coefficients may never be sent |
//! | PNG | 1 byte per 1032 bytes of samples | deflate's longest match: 258 bytes for a 1-bit length and a 1-bit distance |
//! | WebP, lossy | 3 bits per 16x16 macroblock | key frames code the luma and chroma mode with fixed odds: DC and DC, the likeliest, take 3.4 bits |
//! | WebP, lossless | nothing | a Huffman tree of one leaf codes its colour in no bits; only [`MAX_PIXELS`](super::MAX_PIXELS) bounds it |

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jpeg,
    Png,
    WebP,
}

/// Format and size of an encoded picture, found plausible for its length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub format: Format,
    pub width: u32,
    pub height: u32,
}

/// Reads the header by content, whatever the file is called. `Err` is the reason for the refusal.
pub(super) fn inspect(bytes: &[u8]) -> Result<Header, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let (format, Claim { width, height, least_bits }) = match bytes {
        [0xFF, 0xD8, 0xFF, ..] => (Format::Jpeg, jpeg(bytes)?),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => (Format::Png, png(bytes)?),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => (Format::WebP, webp(bytes)?),
        _ => return Err("not a JPEG, PNG or WebP picture".into()),
    };
    super::check_size(width.into(), height.into())
        .map_err(|size| format!("{size}; at most {} pixels and {} a side are read", super::MAX_PIXELS, super::MAX_SIDE))?;
    if least_bits.div_ceil(8) > bytes.len() as u64 {
        return Err(format!("claims {width} x {height} pixels, more than its {} bytes can hold", bytes.len()));
    }
    Ok(Header { format, width, height })
}

/// A size, and the fewest bits that can code it.
struct Claim {
    width: u32,
    height: u32,
    least_bits: u64,
}

/// Walks the segments (ITU T.81, annex B) from the start of the image to its end. A file cut anywhere lacks its end.
fn jpeg(bytes: &[u8]) -> Result<Claim, String> {
    let cut = || "the JPEG is cut short: it has no end-of-image marker".to_string();
    let mut rest = &bytes[2..];
    let mut frame = None;
    loop {
        // Between segments libjpeg skips whatever is no marker; inside a scan FF 00 is a coded byte and FF D0..D7 a restart.
        let at = rest.windows(2).position(|w| w[0] == 0xFF && !matches!(w[1], 0x00 | 0x01 | 0xD0..=0xD8 | 0xFF)).ok_or_else(cut)?;
        let marker = rest[at + 1];
        rest = &rest[at + 2..];
        if marker == 0xD9 {
            break;
        }
        let length = rest.first_chunk().map(|&l| usize::from(u16::from_be_bytes(l))).ok_or_else(cut)?;
        let segment = rest.get(2..length.max(2)).ok_or_else(cut)?;
        rest = &rest[length.max(2)..];
        match marker {
            0xC0..=0xC2 if frame.is_none() => frame = Some(jpeg_frame(segment, marker == 0xC2)?),
            0xC0..=0xC2 => return Err("the JPEG has two frames".into()),
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return Err("lossless, hierarchical and arithmetic JPEG are not read".into()),
            _ => {}
        }
    }
    frame.ok_or_else(|| "the JPEG has no frame".into())
}

/// A start-of-frame segment: precision, height, width, then id, sampling factors and table of each component.
fn jpeg_frame(segment: &[u8], progressive: bool) -> Result<Claim, String> {
    let (&[_, h0, h1, w0, w1, _], components) = segment.split_first_chunk().ok_or("the JPEG's frame header is cut short")?;
    let (width, height) = (u16::from_be_bytes([w0, w1]).into(), u16::from_be_bytes([h0, h1]).into());
    let sampling = || components.chunks_exact(3).map(|c| (u64::from(c[1] >> 4), u64::from(c[1] & 15)));
    let (most_h, most_v) = sampling().fold((1, 1), |(h, v), (a, b)| (h.max(a), v.max(b)));
    let blocks = |side: u32, factor: u64, most: u64| (u64::from(side) * factor).div_ceil(most).div_ceil(8);
    let all: u64 = sampling().map(|(h, v)| blocks(width, h, most_h) * blocks(height, v, most_v)).sum();
    Ok(Claim { width, height, least_bits: if progressive { all } else { 2 * all } })
}

/// The first chunk, IHDR: width, height, bit depth, colour type.
fn png(bytes: &[u8]) -> Result<Claim, String> {
    let header: &[u8; 18] = bytes.get(8..).and_then(<[u8]>::first_chunk).ok_or("the PNG is cut short")?;
    let &[_, _, _, _, b'I', b'H', b'D', b'R', w0, w1, w2, w3, h0, h1, h2, h3, depth, colour] = header else {
        return Err("the PNG does not begin with its header".into());
    };
    let (width, height) = (u32::from_be_bytes([w0, w1, w2, w3]), u32::from_be_bytes([h0, h1, h2, h3]));
    let channels = match colour {
        2 => 3,
        4 => 2,
        6 => 4,
        _ => 1,
    };
    let samples = u128::from(width) * u128::from(height) * channels * u128::from(depth);
    Ok(Claim { width, height, least_bits: u64::try_from(samples / 1032).unwrap_or(u64::MAX) })
}

/// The length of all chunks, then the first: `VP8 ` (lossy), `VP8L` (lossless) or `VP8X` (a canvas, what follows may be anything).
fn webp(bytes: &[u8]) -> Result<Claim, String> {
    let cut = "the WebP is cut short";
    let field = |at: usize, n: usize| -> Result<u32, String> {
        Ok(bytes.get(at..at + n).ok_or(cut)?.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    };
    if u64::from(field(4, 4)?) + 8 > bytes.len() as u64 {
        return Err(cut.into());
    }
    let claim = |width: u32, height: u32, least_bits: u64| Claim { width, height, least_bits };
    match bytes.get(12..16).ok_or(cut)? {
        b"VP8 " => {
            let (width, height) = (field(26, 2)? & 0x3FFF, field(28, 2)? & 0x3FFF);
            Ok(claim(width, height, 3 * u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16))))
        }
        b"VP8L" => {
            let size = field(21, 4)?;
            Ok(claim((size & 0x3FFF) + 1, (size >> 14 & 0x3FFF) + 1, 0))
        }
        b"VP8X" => Ok(claim(field(24, 3)? + 1, field(27, 3)? + 1, 0)),
        _ => Err("not a WebP picture".into()),
    }
}
