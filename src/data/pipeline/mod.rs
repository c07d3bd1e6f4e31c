//! The way from picture files to batches: read, decode, alter, normalise, put together, in worker threads and ahead of time.
//!
//! A batch depends on the pictures, the settings, the seed, the epoch and the order alone: not on how many workers make it, how far ahead
//! they are, what is cached, or where an epoch is resumed.

mod batches;
mod errors_log;

pub use batches::Batches;
pub use errors_log::ErrorsLog;

use super::augment::{Address, Augment};
use super::draws::Draws;
use super::image::Image;
use super::preprocess::Preprocess;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Others that are tried in a broken picture's place.
const ATTEMPTS: usize = 16;
/// What the stream of random numbers is for that chooses them; those of [`Augment`] are below.
const REPLACEMENT: u32 = 16;

/// How pictures are brought up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineOptions {
    /// Threads that prepare pictures; 0: the thread that asks for a batch prepares it.
    pub workers: usize,
    /// Batches that workers are ahead, at least 1.
    pub prefetch: usize,
    /// Of all random numbers.
    pub seed: u64,
    /// The most bytes of decoded pictures that are kept, so that a small set is decoded in the first epoch only; 0 keeps none.
    pub cache_bytes: usize,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        PipelineOptions { workers: 1, prefetch: 2, seed: 0, cache_bytes: 256 << 20 }
    }
}

/// Some pictures of a set as the network reads them.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The number of each row's picture. It is not the one asked for where that one is broken.
    pub indices: Vec<usize>,
    /// `[n, size, size, 3]`, f32, normalised.
    pub pixels: Tensor,
    /// The pictures that were to be in this batch, or in a broken one's place, and could not be read.
    pub broken: Vec<Broken>,
}

/// A picture that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its number.
    pub index: usize,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Makes batches of a set of pictures. A clone is the same pipeline and shares its cache.
#[derive(Debug, Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pictures: Arc<[PathBuf]>,
    preprocess: Preprocess,
    augment: Augment,
    options: PipelineOptions,
    cache: Cache,
}

impl Pipeline {
    /// A pipeline over these files.
    ///
    /// # Errors
    /// Those of [`Augment::check`]; [`Error::Argument`] where there are no pictures, more than 2^32, or where a shift leaves nothing of them.
    pub fn new(pictures: Arc<[PathBuf]>, preprocess: Preprocess, augment: Augment, options: PipelineOptions) -> Result<Self> {
        augment.check()?;
        let wrong = |name, expected: String, got: usize| Err(Error::Argument { name, expected, got: got.to_string() });
        if pictures.is_empty() || u32::try_from(pictures.len()).is_err() {
            return wrong("pictures", "1 to 4294967295 pictures".to_owned(), pictures.len());
        }
        if augment.shift >= preprocess.size() {
            return wrong("augment.shift", format!("less than the {} pixels of the network's square", preprocess.size()), augment.shift);
        }
        let cache = Cache::new(pictures.len(), options.cache_bytes);
        Ok(Pipeline { shared: Arc::new(Shared { pictures, preprocess, augment, options, cache }) })
    }

    /// The batches of one epoch: batch k holds the pictures `order[k * batch..(k + 1) * batch]`, the last one what is left. Batches before
    /// `first` are passed over. An order that names a picture there is none of, or a batch of 0, is an error of the first batch.
    pub fn epoch(&self, epoch: u64, order: Arc<[u32]>, batch: usize, first: usize) -> Batches {
        Batches::start(Plan::new(self.shared.clone(), epoch, order, batch), first)
    }
}

/// One epoch: which picture stands where, and what is done to it.
#[derive(Debug)]
struct Plan {
    shared: Arc<Shared>,
    epoch: u64,
    order: Arc<[u32]>,
    /// How often the order has named the same picture before.
    repeats: Vec<u32>,
    batch: usize,
}

/// One row of a batch.
#[derive(Debug)]
struct Row {
    index: usize,
    pixels: Vec<f32>,
    broken: Vec<Broken>,
}

impl Plan {
    fn new(shared: Arc<Shared>, epoch: u64, order: Arc<[u32]>, batch: usize) -> Self {
        let mut seen = vec![0u32; shared.pictures.len()];
        let repeat = |&index: &u32| {
            let count = seen.get_mut(index as usize)?;
            *count += 1;
            Some(*count - 1)
        };
        let repeats = order.iter().map(repeat).map(Option::unwrap_or_default).collect();
        Plan { shared, epoch, order, repeats, batch }
    }

    /// Says what is wrong with what was asked for.
    fn check(&self) -> Result<()> {
        let pictures = self.shared.pictures.len();
        if self.batch == 0 {
            return Err(Error::Argument { name: "batch", expected: "1 picture or more".to_owned(), got: "0".to_owned() });
        }
        match self.order.iter().find(|&&index| index as usize >= pictures) {
            Some(index) => Err(Error::Argument { name: "order", expected: format!("numbers below {pictures}"), got: index.to_string() }),
            None => Ok(()),
        }
    }

    /// The row at a position of the order. A broken picture's place is taken by another of the same order, so that a part of a set that is
    /// held apart stays apart.
    fn row(&self, position: usize) -> Result<Row> {
        let at = |position: usize| self.order.get(position).copied().unwrap_or_default();
        let asked = at(position);
        let repeat = self.repeats.get(position).copied().unwrap_or_default();
        let address = Address { seed: self.shared.options.seed, epoch: self.epoch, index: asked, repeat };
        let mut others = Draws::new(address, REPLACEMENT);
        let (mut index, mut broken) = (asked as usize, Vec::new());
        while broken.len() <= ATTEMPTS {
            match self.shared.pixels(index, address) {
                Ok(pixels) => return Ok(Row { index, pixels, broken }),
                Err(error) => broken.push(self.shared.broken(index, error)),
            }
            index = at(others.below(self.order.len())) as usize;
        }
        let Broken { path, reason, .. } = broken.swap_remove(0);
        Err(Error::Image { path, reason: format!("{reason}; nor could any of {ATTEMPTS} others be read in its place") })
    }

    /// Rows as a batch.
    fn together(&self, rows: Vec<Row>) -> Result<Batch> {
        let size = self.shared.preprocess.size();
        let mut pixels = Vec::with_capacity(rows.len() * size * size * 3);
        let (mut indices, mut broken) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            indices.push(row.index);
            pixels.extend_from_slice(&row.pixels);
            broken.extend(row.broken);
        }
        Ok(Batch { pixels: Tensor::from_f32([indices.len(), size, size, 3], pixels)?, indices, broken })
    }
}

impl Shared {
    /// A picture as the network reads it.
    fn pixels(&self, index: usize, address: Address) -> Result<Vec<f32>> {
        self.cache.with(index, &self.pictures, |picture| {
            let alteration = self.augment.draw(picture.width(), picture.height(), address);
            let square = alteration.apply(picture, &self.preprocess)?;
            Ok(self.preprocess.normalise(square).collect())
        })
    }

    fn broken(&self, index: usize, error: Error) -> Broken {
        let path = self.pictures.get(index).cloned().unwrap_or_default();
        let reason = match error {
            Error::Image { reason, .. } => reason,
            Error::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        Broken { index, path, reason }
    }
}

/// Decoded pictures, kept from the first on until there is no more room. None makes room for another: where every picture is seen once an
/// epoch, no choice of which to keep finds more of them.
#[derive(Debug)]
struct Cache {
    kept: Box<[OnceLock<Image>]>,
    /// Bytes that may still be taken.
    room: AtomicUsize,
}

impl Cache {
    fn new(pictures: usize, bytes: usize) -> Self {
        let places = if bytes == 0 { 0 } else { pictures };
        Cache { kept: (0..places).map(|_| OnceLock::new()).collect(), room: AtomicUsize::new(bytes) }
    }

    /// Works on a picture, decoded now or kept from before.
    fn with<R>(&self, index: usize, pictures: &[PathBuf], work: impl FnOnce(&Image) -> Result<R>) -> Result<R> {
        let place = self.kept.get(index);
        if let Some(kept) = place.and_then(OnceLock::get) {
            return work(kept);
        }
        let path = pictures.get(index).ok_or_else(|| Error::graph("pipeline", "a picture of the set", index))?;
        let picture = Image::open(path)?;
        let result = work(&picture);
        if let Some(place) = place {
            let bytes = picture.rgb().len();
            let take = |room: usize| room.checked_sub(bytes);
            let taken = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
            if taken && place.set(picture).is_err() {
                self.room.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        result
    }
}
