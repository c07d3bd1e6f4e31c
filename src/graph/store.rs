//! Named, persistent tensors on a device: parameters, statistics, moments, caches, counters. Sessions of many shapes share one store.

use super::StateKind;
use crate::device::cpu::Packed;
use crate::device::memory::DeviceMemory;
use crate::device::now::now;
use crate::device::{Device, Room};
use crate::error::{Error, Result};
use crate::tensor::{Tensor, TensorType};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives a parameter's numbers by name, such as from a mapped weight file; none where it has no such tensor.
pub type WeightSource = Arc<dyn Fn(&str) -> Result<Option<Tensor>> + Send + Sync>;

/// Tells stores apart: a session's indices mean something in its own store alone.
static IDS: AtomicU64 = AtomicU64::new(0);

/// State by name. What a weight source can give again, and what can be computed again, is held only while something reads it.
pub struct Store {
    pub(super) memory: DeviceMemory,
    device: Device,
    id: u64,
    index: HashMap<String, usize>,
    entries: Vec<Entry>,
    packed: HashMap<(usize, &'static str), (u64, Packed)>,
    source: Option<WeightSource>,
    generation: u64,
}

#[derive(Debug)]
struct Entry {
    name: String,
    ty: TensorType,
    kind: StateKind,
    /// Its memory is there.
    resident: bool,
    /// For derived state: the generation of the weights it was computed from.
    fresh: u64,
    /// Some session reads it in every run.
    pinned: bool,
    /// The host, or a node, wrote it: the source no longer knows its content.
    written: bool,
}

impl Store {
    /// An empty store on a device.
    pub fn new(device: &Device) -> Self {
        Store {
            memory: DeviceMemory::new(device),
            device: device.clone(),
            id: IDS.fetch_add(1, Ordering::Relaxed),
            index: HashMap::new(),
            entries: Vec::new(),
            packed: HashMap::new(),
            source: None,
            generation: 1,
        }
    }

    /// A store whose parameters and statistics are read from `source` when they are first needed.
    pub fn with_source(device: &Device, source: WeightSource) -> Self {
        Store { source: Some(source), ..Self::new(device) }
    }

    /// The device that holds it.
    pub fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Names, types and kinds, in the order in which they came to be.
    pub fn entries(&self) -> impl Iterator<Item = (&str, TensorType, StateKind)> {
        self.entries.iter().map(|e| (e.name.as_str(), e.ty, e.kind))
    }

    /// True where there is state of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// Where state of this name lies among the rest.
    #[cfg(feature = "vendor")]
    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Makes room for state of this name and type, zeroed, unless it is there already.
    ///
    /// # Errors
    /// [`Error::Graph`] where the name stands for another type, [`Error::OutOfMemory`].
    pub fn ensure(&mut self, name: &str, ty: TensorType, kind: StateKind) -> Result<()> {
        self.ensure_index(name, ty, kind, false, false).map(|_| ())
    }

    /// The same, with a guard band behind what is new where `guarded` says so. Where `later` says so, its room is left to [`Store::together`].
    pub(super) fn ensure_index(&mut self, name: &str, ty: TensorType, kind: StateKind, guarded: bool, later: bool) -> Result<usize> {
        if let Some(&i) = self.index.get(name) {
            let known = &self.entries[i];
            return if known.ty == ty { Ok(i) } else { Err(Error::graph(name, known.ty, ty)) };
        }
        let lazy = kind == StateKind::Derived || (kind.is_weight() && self.source.is_some());
        let room = Room::of(&ty);
        let resident = !lazy && !later;
        let index = self.memory.push(if resident { room } else { room.later() }, guarded)?;
        debug_assert_eq!(index, self.entries.len());
        self.entries.push(Entry { name: name.to_owned(), ty, kind, resident, fresh: 0, pinned: false, written: !lazy });
        self.index.insert(name.to_owned(), index);
        Ok(index)
    }

    /// Lays state side by side, and makes room for what cannot be had from the source.
    pub(super) fn together(&mut self, members: &[usize]) -> Result<()> {
        let typed: Vec<_> = members.iter().map(|&i| (i, self.entries[i].ty)).collect();
        if self.memory.together(&typed)? {
            self.weights_changed();
        }
        members.iter().filter(|&&i| self.entries[i].written).copied().collect::<Vec<_>>().into_iter().try_for_each(|i| self.make_room(i))
    }

    /// Moves state away from `other`, where they lie side by side.
    pub(super) fn apart(&mut self, i: usize, other: usize) -> Result<()> {
        if self.memory.apart(i, other)? {
            self.weights_changed();
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize> {
        self.index.get(name).copied().ok_or_else(|| Error::graph(name, "state in the store", "none of that name"))
    }

    /// Writes state. Weights written this way make what was derived from them stale.
    ///
    /// # Errors
    /// [`Error::Graph`] where the name is unknown or the shape differs.
    pub fn write(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let i = self.find(name)?;
        self.expect_shape(i, tensor)?;
        self.make_room(i)?;
        self.memory.write(i, &self.entries[i].ty, tensor)?;
        self.entries[i].written = true;
        if self.entries[i].kind.is_weight() {
            self.weights_changed();
        }
        Ok(())
    }

    /// Writes floating-point state from f64, without rounding to f32 on the way.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_f64(&mut self, name: &str, values: &[f64]) -> Result<()> {
        let i = self.find(name)?;
        if values.len() != self.entries[i].ty.len() || !self.entries[i].ty.dtype.is_float() {
            return Err(Error::graph(name, self.entries[i].ty, format!("{} numbers", values.len())));
        }
        self.make_room(i)?;
        self.memory.write_f64(i, &self.entries[i].ty, values)?;
        self.entries[i].written = true;
        if self.entries[i].kind.is_weight() {
            self.weights_changed();
        }
        Ok(())
    }

    /// Reads state; floating point comes as f32.
    ///
    /// # Errors
    /// [`Error::Graph`] where the name is unknown; those of the weight source.
    pub fn read(&mut self, name: &str) -> Result<Tensor> {
        let i = self.find(name)?;
        self.load(i)?;
        now(self.memory.read(i, &self.entries[i].ty))
    }

    /// Reads state as f64.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_f64(&mut self, name: &str) -> Result<Vec<f64>> {
        let i = self.find(name)?;
        self.load(i)?;
        now(self.memory.read_f64(i, &self.entries[i].ty))
    }

    /// Bytes presently held by state, rearranged copies aside.
    pub fn resident_bytes(&self) -> usize {
        self.entries.iter().filter(|e| e.resident).map(|e| e.ty.bytes()).sum()
    }

    fn expect_shape(&self, i: usize, tensor: &Tensor) -> Result<()> {
        let ty = self.entries[i].ty;
        if tensor.shape() == ty.shape && tensor.ty().dtype.is_float() == ty.dtype.is_float() {
            Ok(())
        } else {
            Err(Error::graph(&self.entries[i].name, ty, tensor.ty()))
        }
    }

    /// Says that weights are no longer what they were: what was derived from them is stale.
    pub(super) fn weights_changed(&mut self) {
        self.generation += 1;
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn bytes(&self, i: usize) -> usize {
        self.entries[i].ty.bytes()
    }

    pub(super) fn pin(&mut self, i: usize) {
        self.entries[i].pinned = true;
    }

    pub(super) fn is_pinned(&self, i: usize) -> bool {
        self.entries[i].pinned
    }

    pub(super) fn is_resident(&self, i: usize) -> bool {
        let e = &self.entries[i];
        e.resident && (e.kind != StateKind::Derived || e.fresh == self.generation)
    }

    pub(super) fn make_room(&mut self, i: usize) -> Result<()> {
        if !self.entries[i].resident {
            self.memory.revive(i, &self.entries[i].ty)?;
            self.entries[i].resident = true;
        }
        Ok(())
    }

    pub(super) fn mark_fresh(&mut self, i: usize) {
        self.entries[i].fresh = self.generation;
    }

    /// Brings a weight in from the source.
    pub(super) fn load(&mut self, i: usize) -> Result<()> {
        if self.entries[i].resident {
            return Ok(());
        }
        let name = self.entries[i].name.clone();
        let tensor = match (&self.source, self.entries[i].kind.is_weight()) {
            (Some(source), true) => source(&name)?,
            _ => None,
        };
        let tensor = tensor.ok_or_else(|| Error::graph(&name, "a tensor in the weight source", "none"))?;
        self.expect_shape(i, &tensor)?;
        self.make_room(i)?;
        self.memory.write(i, &self.entries[i].ty, &tensor)
    }

    /// Frees what no session reads in a run and what can be had again.
    pub(super) fn release_idle(&mut self, i: usize) {
        let e = &mut self.entries[i];
        if e.resident && !e.pinned && (e.kind == StateKind::Derived || !e.written) {
            e.resident = false;
            self.memory.release(i);
        }
    }

    pub(super) fn packed(&self, i: usize, layout: &'static str) -> Option<Packed> {
        self.packed.get(&(i, layout)).filter(|(generation, _)| *generation == self.generation).map(|(_, p)| p.clone())
    }

    pub(super) fn keep_packed(&mut self, i: usize, layout: &'static str, packed: Packed) {
        self.packed.insert((i, layout), (self.generation, packed));
    }

    pub(super) fn floats_f32(&self, i: usize) -> Option<&[f32]> {
        match &self.memory {
            DeviceMemory::Cpu(m) => m.floats(i)?.get(..self.entries[i].ty.len()),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("device", &self.device).field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}
