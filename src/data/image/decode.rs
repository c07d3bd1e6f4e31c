//! Reads JPEG, PNG and WebP as Pillow does: upright by EXIF, transparency on white, the high byte of 16-bit samples.

use super::Image;
use super::header::{self, Format, Header};
use crate::error::{Error, Result};
use image::codecs::{png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, Limits, RgbImage};
use jpeg_decoder::{Decoder as JpegDecoder, PixelFormat};
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The longest file that is read: 256 MiB.
const MAX_FILE: u64 = 256 << 20;

/// The most memory a decoder may take beside the picture: 32 megapixels of 16-bit RGBA and a little.
const MAX_ALLOC: u64 = 320 << 20;

/// What a decoder says where it gives no picture: its reason, in words.
type Decoded<T> = std::result::Result<T, String>;

impl Image {
    /// Reads a picture file. The content says what it is, whatever its name ends in.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::Image`] where it is no regular file, longer than 256 MiB, or
    /// what [`Image::decode`] refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |e| Error::io(path, e);
        let refuse = |reason: &str| Err(Error::Image { path: path.to_owned(), reason: reason.into() });
        // Asked before it is opened: opening a named pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(io)?;
        if !metadata.is_file() {
            return refuse(if metadata.is_dir() { "is a folder" } else { "is not a regular file" });
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path).map_err(io)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        Self::decode(&bytes, path)
    }

    /// Decodes a JPEG, PNG or WebP picture: upright by its EXIF orientation, transparency on white, the high byte of 16-bit
    /// samples, the first frame of an animation. CMYK is converted as Adobe's inverted ink, as Pillow does. Colour profiles
    /// and gamma are not applied. `name` is what errors call the picture.
    ///
    /// # Errors
    /// [`Error::Image`] where the bytes are no such picture, are damaged or cut short, have more than 32 megapixels, or
    /// claim more pixels than so few bytes can hold.
    pub fn decode(bytes: &[u8], name: impl AsRef<Path>) -> Result<Self> {
        let decoded = if bytes.len() as u64 > MAX_FILE { Err(format!("longer than {MAX_FILE} bytes")) } else { decode(bytes) };
        decoded.map_err(|reason| Error::Image { path: name.as_ref().to_owned(), reason })
    }
}

fn decode(bytes: &[u8]) -> Decoded<Image> {
    let header = header::inspect(bytes)?;
    // The decoders are safe code, but a panic in one, on a file no one foresaw, must not end a run over a folder.
    let decoded = catch_unwind(AssertUnwindSafe(|| match header.format {
        Format::Jpeg => jpeg(bytes, &header),
        Format::Png => PngDecoder::with_limits(Cursor::new(bytes), limits()).map_err(|e| e.to_string()).and_then(|d| other(d, &header)),
        Format::WebP => WebPDecoder::new(Cursor::new(bytes)).map_err(|e| e.to_string()).and_then(|d| other(d, &header)),
    }));
    let (mut picture, exif) = decoded.unwrap_or_else(|_| Err("the decoder failed".into()))?;
    if let Some(orientation) = exif.as_deref().and_then(orientation) {
        picture.apply_orientation(orientation);
    }
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Ok(Image { width, height, rgb: opaque(picture) })
}

/// By `jpeg-decoder`, not the `zune-jpeg` that `image` brings: it refuses every file that is cut short, and interpolates colour
/// as libjpeg does, so it is within 3/255 of Pillow where the other is up to 6/255 off at the right edge.
fn jpeg(bytes: &[u8], header: &Header) -> Decoded<(DynamicImage, Option<Vec<u8>>)> {
    let mut decoder = JpegDecoder::new(bytes);
    decoder.set_max_decoding_buffer_size(MAX_ALLOC as usize);
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    let info = decoder.info().ok_or("the JPEG has no frame")?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    if (width, height) != (header.width, header.height) {
        return Err("the JPEG gives its size twice".into());
    }
    let picture = match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        PixelFormat::CMYK32 => {
            let rgb = pixels.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]].map(|ink| on_paper(ink, p[3]))).collect();
            RgbImage::from_raw(width, height, rgb).map(DynamicImage::from)
        }
        PixelFormat::L16 => return Err("16-bit JPEG is not read".into()),
    };
    Ok((picture.ok_or("the JPEG holds fewer pixels than it claims")?, decoder.exif_data().map(<[u8]>::to_vec)))
}

/// PNG and WebP, which `image` reads as strictly as is wanted.
fn other(mut decoder: impl ImageDecoder, header: &Header) -> Decoded<(DynamicImage, Option<Vec<u8>>)> {
    let text = |e: image::ImageError| e.to_string();
    if decoder.dimensions() != (header.width, header.height) {
        return Err("the picture gives its size twice".into());
    }
    decoder.set_limits(limits()).map_err(text)?;
    let exif = decoder.exif_metadata().ok().flatten();
    Ok((DynamicImage::from_decoder(decoder).map_err(text)?, exif))
}

fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOC);
    limits
}

/// The orientation in an EXIF block, which some writers of WebP begin as JPEG does. A broken block says nothing.
fn orientation(exif: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))
}

/// Three bytes a pixel, on white where the picture is transparent.
fn opaque(picture: DynamicImage) -> Vec<u8> {
    match picture {
        DynamicImage::ImageRgb8(p) => p.into_raw(),
        DynamicImage::ImageLuma8(p) => p.into_raw().into_iter().flat_map(|v| [v; 3]).collect(),
        DynamicImage::ImageLumaA8(p) => p.as_raw().chunks_exact(2).flat_map(|p| [on_white(p[0], p[1]); 3]).collect(),
        DynamicImage::ImageRgba8(p) => p.as_raw().chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]].map(|v| on_white(v, p[3]))).collect(),
        DynamicImage::ImageLuma16(p) => p.as_raw().iter().flat_map(|&v| [high(v); 3]).collect(),
        DynamicImage::ImageRgb16(p) => p.as_raw().iter().map(|&v| high(v)).collect(),
        DynamicImage::ImageLumaA16(p) => p.as_raw().chunks_exact(2).flat_map(|p| [on_white(high(p[0]), high(p[1])); 3]).collect(),
        DynamicImage::ImageRgba16(p) => p.as_raw().chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]].map(|v| on_white(high(v), high(p[3])))).collect(),
        other => other.into_rgb8().into_raw(),
    }
}

fn high(v: u16) -> u8 {
    (v >> 8) as u8
}

/// A sample laid on white, rounded as in Pillow's `alpha_composite`: the division by 255 is `(t + (t >> 8)) >> 8`, at 7 more
/// bits of precision.
fn on_white(v: u8, alpha: u8) -> u8 {
    let (v, alpha) = (u32::from(v), u32::from(alpha));
    let t = (v * alpha + 255 * (255 - alpha) + 0x80) << 7;
    (((t >> 8) + t) >> 8 >> 7) as u8
}

/// One primary of the colour that an ink and black leave of white paper, rounded as in Pillow.
fn on_paper(ink: u8, black: u8) -> u8 {
    let white = u32::from(255 - black);
    let t = u32::from(ink) * white + 128;
    (white - (((t >> 8) + t) >> 8)) as u8
}
