//! What rows are set beside: those of files, such as an earlier run's or PyTorch's, and those of libraries, which are measured along.

use super::Settings;
use super::compare::{Comparison, beside};
use super::peaks::Peaks;
use super::record::{self, Host, Row};
use super::shapes::Subject;
use super::subject::Prepared;
#[cfg(feature = "vendor")]
use super::vendor::Vendor;
use crate::device::Device;
use crate::error::Result;
use std::path::Path;

/// Names that stand for libraries, not for files.
pub const LIBRARIES: [&str; 2] = ["cublas", "cudnn"];

/// Peers by their names: a library's, or the stem of a file's.
#[derive(Debug, Default)]
pub struct Peers {
    files: Vec<(String, Vec<Row>)>,
    #[cfg(feature = "vendor")]
    vendors: Vec<Vendor>,
}

impl Peers {
    /// Reads the files and loads the libraries of these names, for rows of this device.
    ///
    /// # Errors
    /// Those of [`record::read`]; [`crate::Error::Device`] for a library that is not there, or that does not work on this device.
    pub fn open(asked: &[String], device: &Device) -> Result<Self> {
        let mut peers = Peers::default();
        for name in asked {
            if LIBRARIES.contains(&name.as_str()) {
                peers.load(name, device)?;
            } else {
                let path = Path::new(name);
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                peers.files.push((stem, record::read(path)?));
            }
        }
        Ok(peers)
    }

    #[cfg(feature = "vendor")]
    fn load(&mut self, name: &str, device: &Device) -> Result<()> {
        self.vendors.push(Vendor::open(name, device)?);
        Ok(())
    }

    #[cfg(not(feature = "vendor"))]
    fn load(&mut self, name: &str, _device: &Device) -> Result<()> {
        let reason = "this program was built without it: build with --features vendor".to_owned();
        Err(crate::Error::Device { device: name.to_owned(), reason })
    }

    /// Has each library compute a subject that was measured, on the same tensors, and keeps its row where it has that operator.
    ///
    /// # Errors
    /// Those of the device.
    #[cfg_attr(not(feature = "vendor"), expect(unused_variables))]
    pub fn measure(&mut self, subject: &Subject, prepared: &mut Prepared, peaks: Option<&Peaks>, host: &Host, settings: &Settings) -> Result<()> {
        #[cfg(feature = "vendor")]
        self.vendors.iter_mut().try_for_each(|vendor| vendor.measure(subject, prepared, peaks, host, settings))?;
        Ok(())
    }

    /// The rows of the libraries by what they are of: a library, or what of an operator it computes.
    pub fn measured(&self) -> Vec<(&str, &[Row])> {
        #[cfg(feature = "vendor")]
        return self.vendors.iter().flat_map(Vendor::rows).collect();
        #[cfg(not(feature = "vendor"))]
        Vec::new()
    }

    /// What there is to say of operators that a library has no row for though it should, and of files whose rows ran elsewhere than these.
    pub fn notes(&self, rows: &[Row]) -> Vec<String> {
        let here = record::devices(rows);
        let elsewhere = self.files.iter().filter_map(|(name, theirs)| {
            let there = record::devices(theirs);
            (there != here).then(|| format!("{name} on {there}, these on {here}"))
        });
        #[cfg(feature = "vendor")]
        let elsewhere = elsewhere.chain(self.vendors.iter().flat_map(Vendor::notes).map(str::to_owned));
        elsewhere.collect()
    }

    /// Each of these rows beside the fastest of the peers that have it; nothing where there are no peers.
    pub fn beside(&self, rows: &[Row]) -> Option<Comparison> {
        let mut peers: Vec<(&str, &[Row])> = self.files.iter().map(|(name, rows)| (name.as_str(), rows.as_slice())).collect();
        peers.extend(self.measured());
        #[cfg(feature = "vendor")]
        let is_empty = self.files.is_empty() && self.vendors.is_empty();
        #[cfg(not(feature = "vendor"))]
        let is_empty = self.files.is_empty();
        (!is_empty).then(|| beside(&peers, rows))
    }
}
