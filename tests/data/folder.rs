//! Folders to write data sets into.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file of the golden folder.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A folder of its own for each test, gone when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("escnet-data-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// A picture of 12 x 12 pixels, another one for each number.
    pub fn picture(&self, name: &str, number: u32) -> &Self {
        let pixel = |x: u32, y: u32| {
            let hash = (x * 7919 + y * 104_729 + (number + 1) * 1_299_709).wrapping_mul(2_654_435_761);
            image::Rgb([(hash >> 8) as u8, (hash >> 16) as u8, (hash >> 24) as u8])
        };
        self.drawn(name, &image::RgbImage::from_fn(12, 12, pixel))
    }

    /// A picture whose pixels are `at(x, y)`, and where it is.
    pub fn plotted(&self, name: &str, [w, h]: [u32; 2], at: impl Fn(u32, u32) -> [u8; 3]) -> PathBuf {
        self.drawn(name, &image::RgbImage::from_fn(w, h, |x, y| image::Rgb(at(x, y)))).join(name)
    }

    pub fn drawn(&self, name: &str, picture: &image::RgbImage) -> &Self {
        let mut bytes = Vec::new();
        picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
        self.write(name, bytes)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
