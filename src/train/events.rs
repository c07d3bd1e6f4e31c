//! TensorBoard's event files: scalars that its page draws as curves.
//!
//! A file is a row of TFRecords: length u64, its checksum u32, that many bytes, their checksum u32, all little-endian; a checksum is CRC-32C
//! turned right by 15 bits plus 0xa282ead8 (tensorflow/core/lib/io/record_writer.h). Each record is one `Event` message
//! (tensorboard/compat/proto/event.proto), of which a few fields are written here:
//!
//! ```text
//! Event       1 wall_time double, 2 step int64, 3 file_version string, 5 summary Summary, 7 session_log SessionLog
//! Summary     1 value Value            Value  1 tag string, 2 simple_value float
//! SessionLog  1 status enum, START = 1
//! ```

use crate::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Writes one event file. A run that is resumed writes another one into the same folder; TensorBoard reads them in the order of their names.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    out: BufWriter<File>,
}

impl EventWriter {
    /// Begins a new file in a folder, which is made if need be. `wall_time`, in seconds since 1970, stands in the file's name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(folder: &Path, wall_time: f64) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let mut count = 0;
        let (path, file) = loop {
            let path = folder.join(format!("events.out.tfevents.{:010}.escnet.{count}", wall_time.max(0.0) as u64));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => count += 1,
                Err(e) => return Err(Error::io(path, e)),
            }
        };
        let mut writer = EventWriter { path, out: BufWriter::new(file) };
        let mut version = Message::default();
        version.double(1, wall_time).bytes(3, b"brain.Event:2");
        writer.record(&version.0)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Says that the run goes on from `step`: of what earlier files hold TensorBoard forgets that step and those after it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn resumed(&mut self, step: u64, wall_time: f64) -> Result<()> {
        let (mut log, mut event) = (Message::default(), Message::default());
        log.varint(1, 1);
        event.double(1, wall_time).varint(2, step).bytes(7, &log.0);
        self.record(&event.0)
    }

    /// Writes the value of a curve at a step. A slash in the tag groups curves: `train/loss`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32, wall_time: f64) -> Result<()> {
        let (mut named, mut summary, mut event) = (Message::default(), Message::default(), Message::default());
        named.bytes(1, tag.as_bytes()).float(2, value);
        summary.bytes(1, &named.0);
        event.double(1, wall_time).varint(2, step).bytes(5, &summary.0);
        self.record(&event.0)
    }

    /// Lets readers see what was written so far.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(|e| Error::io(&self.path, e))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn record(&mut self, event: &[u8]) -> Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let parts = [&length[..], &masked(&length).to_le_bytes(), event, &masked(event).to_le_bytes()];
        parts.iter().try_for_each(|part| self.out.write_all(part)).map_err(|e| Error::io(&self.path, e))
    }
}

/// A record's checksum. It is masked since a checksum over data that holds checksums of the same kind is weak.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A protobuf message that is being put together: (field number, wire type) and value, again and again.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// Seven bits a byte, the lowest first; the high bit says that more follow.
    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(&mut self, field: u64, value: u64) -> &mut Self {
        self.raw(field << 3);
        self.raw(value);
        self
    }

    fn double(&mut self, field: u64, value: f64) -> &mut Self {
        self.raw(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A string or a message.
    fn bytes(&mut self, field: u64, value: &[u8]) -> &mut Self {
        self.raw(field << 3 | 2);
        self.raw(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn float(&mut self, field: u64, value: f32) -> &mut Self {
        self.raw(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }
}
