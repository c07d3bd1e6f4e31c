//! Pictures: three bytes a pixel, upright, opaque.
//!
//! [`Image::from_rgb`] is always there; [`Image::open`] and [`Image::decode`] need the feature `decode`.

#[cfg(feature = "decode")]
mod decode;
#[cfg(feature = "decode")]
mod header;

use crate::error::{Error, Result};

/// The most pixels a picture may have: 32 megapixels, 96 MB of RGB.
pub const MAX_PIXELS: u64 = 32_000_000;
/// The most pixels along one side, JPEG's own limit. It bounds what a resize of a very thin picture costs.
pub const MAX_SIDE: u64 = 65_535;

/// An upright, opaque picture in sRGB, 8 bits a channel.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Image {
    /// A picture of `width` x `height` pixels from its bytes: rows from the top, pixels from the left, red green blue.
    ///
    /// # Errors
    /// [`Error::Argument`] where the bytes do not fill the picture exactly, where it is empty, or where it has more than
    /// [`MAX_PIXELS`] or a side longer than [`MAX_SIDE`].
    pub fn from_rgb(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self> {
        check_size(width as u64, height as u64).map_err(|reason| Error::Argument {
            name: "width, height",
            expected: format!("at most {MAX_PIXELS} pixels, a side at most {MAX_SIDE}"),
            got: reason,
        })?;
        let bytes = width * height * 3;
        if rgb.len() != bytes {
            return Err(Error::Argument {
                name: "rgb",
                expected: format!("{bytes} bytes for {width} x {height} pixels"),
                got: rgb.len().to_string(),
            });
        }
        Ok(Image { width, height, rgb })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The bytes, given away.
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} x {})", self.width, self.height)
    }
}

/// Says why a picture of this size is refused, before memory is taken for it.
fn check_size(width: u64, height: u64) -> std::result::Result<(), String> {
    let fits = (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height) && width * height <= MAX_PIXELS;
    if fits { Ok(()) } else { Err(format!("{width} x {height} pixels")) }
}
