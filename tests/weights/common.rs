//! Small files, folders that vanish, and the golden models.

use escnet::error::{Error, WeightProblem};
use escnet::model::EscnetConfig;
use escnet::weights::{Wanted, manifest};
use escnet::{Shape, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The golden models.
pub const MODELS: [&str; 5] = ["default", "trained", "i2t_lexicon_focal", "self_none", "t2i_ce"];

/// A path under tests/golden.
pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

/// A golden model's configuration and what it asks for.
pub fn model(name: &str) -> (EscnetConfig, Vec<Wanted>) {
    let config = EscnetConfig::open(golden(name)).unwrap();
    let wanted = manifest(&config).unwrap();
    (config, wanted)
}

/// An empty folder, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("escnet-weights-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file of this header and these bytes, whatever they say.
pub fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A sound file, written without the library: name, type, extents, bytes.
pub fn file(tensors: &[(&str, &str, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        header.push(format!("{name:?}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{}]}}", data.len()));
    }
    raw(&format!("{{{}}}", header.join(",")), &data)
}

/// f32 as a file holds them.
pub fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The problems an error tells of.
#[track_caller]
pub fn problems<T>(result: Result<T, Error>) -> Vec<WeightProblem> {
    match result {
        Err(Error::Weights { problems, .. }) => problems,
        Err(other) => panic!("expected Error::Weights, got {other}"),
        Ok(_) => panic!("expected Error::Weights, got a result"),
    }
}

/// A file's tensors as the safetensors crate reads them.
pub fn by_crate(bytes: &[u8]) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let tensors = safetensors::SafeTensors::deserialize(bytes).unwrap();
    tensors.iter().map(|(n, t)| (n.to_owned(), (format!("{:?}", t.dtype()), t.shape().to_vec(), t.data().to_vec()))).collect()
}

/// An f32 tensor.
pub fn tensor(shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::from_f32(Shape::new(shape).unwrap(), values).unwrap()
}
