//! A session: a planned graph bound to memory on a device, replayed without allocating, compiling or looking anything up.

use super::packs;
use super::plan::scratch_of;
use super::replay::{Recording, Replay, Step};
use super::store::Store;
use super::times::{Clocked, NodeTime, Times};
use super::{Graph, Plan, Segment, Source, StateKind, Value};
use crate::device::binding::{Binding, Home, Place};
use crate::device::cpu::give_back_freed;
use crate::device::memory::DeviceMemory;
use crate::device::now::now;
use crate::device::{Device, Room};
use crate::error::{Error, Result};
use crate::tensor::{Tensor, TensorType};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Bytes of a tensor after whose rearrangement freed memory is given back at once, so that it does not add to the peak.
const LARGE: usize = 4 << 20;

/// How a session runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Fills every output with NaN before it is computed and puts guard bands behind every slot and all state that is new, checked after each node: for tests.
    pub checked: bool,
    /// Gives each tensor an allocation of its own where a device would put all into one, as a checked session does, so that what looks at accesses sees those beyond
    /// a tensor's end: for tests.
    pub apart: bool,
    /// Adds up the time of each node, in a session that is not checked.
    pub timed: bool,
}

impl Options {
    /// Whether each tensor has an allocation of its own.
    pub(super) fn are_apart(&self) -> bool {
        self.checked || self.apart
    }
}

/// A graph ready to run against a [`Store`].
pub struct Session {
    graph: Arc<Graph>,
    plan: Plan,
    device: Device,
    slots: DeviceMemory,
    steps: Vec<Step>,
    recording: Recording,
    /// Steps of [`Segment::Run`] come first; this is where [`Segment::Apply`] starts.
    apply_at: usize,
    inputs: HashMap<String, Place>,
    outputs: HashMap<String, Place>,
    /// For each value that is state, or a view of it, its index in the store.
    state_index: Vec<Option<usize>>,
    /// Segments that change weights.
    writes_weights: HashSet<Segment>,
    store_id: u64,
    prepared_at: u64,
    options: Options,
    times: Times,
}

impl Session {
    /// Plans the graph and allocates its slots. State that the store lacks is added to it.
    ///
    /// # Errors
    /// [`Error::Graph`] where store and graph disagree on a type or a node would run before what it reads, [`Error::OutOfMemory`].
    pub fn new(graph: Graph, store: &mut Store, options: Options) -> Result<Self> {
        graph.check_order()?;
        let device = store.device().clone();
        if let Some((_, info)) = graph.values().find(|(_, info)| !device.holds(info.ty.dtype)) {
            return Err(Error::graph(&info.name, format!("a type that {} holds", device.name()), info.ty));
        }
        let plan = Plan::new(&graph, device.threads());
        let slots = DeviceMemory::new(&device);
        let mut state_index = vec![None; graph.values.len()];
        let sets = packs::sets(&graph);
        for (v, info, kind) in graph.states() {
            let later = sets.iter().any(|set| set.contains(&v));
            state_index[v.index()] = Some(store.ensure_index(&info.name, info.ty, kind, options.checked, later)?);
        }
        for set in sets {
            store.together(&set.iter().filter_map(|v| state_index[v.index()]).collect::<Vec<_>>())?;
        }
        for (v, root) in graph.view_roots().into_iter().enumerate() {
            state_index[v] = state_index[root.index()];
        }
        let mut session = Session {
            graph: Arc::new(graph),
            plan,
            device,
            slots,
            steps: Vec::new(),
            recording: Recording::Nothing,
            apply_at: 0,
            inputs: HashMap::new(),
            outputs: HashMap::new(),
            state_index,
            writes_weights: HashSet::new(),
            store_id: store.id(),
            prepared_at: 0,
            options,
            times: Times::default(),
        };
        session.bind()?;
        session.make_room()?;
        Ok(session)
    }

    /// Allocates the slots and writes the constants.
    fn make_room(&mut self) -> Result<()> {
        let replay = Replay { device: &self.device, graph: &self.graph, steps: &self.steps, options: self.options };
        let scratch = replay.scratch(&self.slots)?;
        self.slots.extend(&self.plan.slots, &scratch, self.options.checked, self.options.are_apart())?;
        for (v, info) in self.graph.values() {
            if let (Some(slot), Source::Constant(tensor)) = (self.plan.home[v.index()], &info.source) {
                self.slots.write(slot, &info.ty, tensor)?;
            }
        }
        Ok(())
    }

    fn bind(&mut self) -> Result<()> {
        let graph = self.graph.clone();
        for (v, info) in graph.values() {
            let Some(slot) = self.plan.home[v.index()] else { continue };
            if info.source == Source::Input {
                self.inputs.insert(info.name.clone(), Place { home: Home::Slot, index: slot, ty: info.ty });
            }
        }
        for (name, v) in graph.outputs() {
            self.outputs.insert(name.clone(), self.place(*v)?);
        }
        for segment in [Segment::Run, Segment::Apply] {
            if segment == Segment::Apply {
                self.apply_at = self.steps.len();
            }
            for (n, node) in graph.nodes.iter().enumerate().filter(|(_, n)| n.segment == segment && !n.op.is_view()) {
                let binding = self.binding(n)?;
                let weights = |i: &usize| matches!(graph.info(node.inputs[*i]).source, Source::State(k) if k.is_weight());
                if node.op.updates().iter().any(weights) {
                    self.writes_weights.insert(segment);
                }
                self.steps.push(Step { node: n, binding });
            }
        }
        self.times = Times::new(graph.nodes.len());
        Ok(())
    }

    fn place(&self, v: Value) -> Result<Place> {
        let info = self.graph.info(v);
        let (home, index) = match (self.state_index[v.index()], self.plan.home[v.index()]) {
            (Some(state), _) => (Home::State, state),
            (None, Some(slot)) => (Home::Slot, slot),
            (None, None) => return Err(Error::graph(&info.name, "a planned value", "none")),
        };
        Ok(Place { home, index, ty: info.ty })
    }

    fn binding(&self, n: usize) -> Result<Binding> {
        self.bound(n, self.plan.workspace[n].map(|(slot, len)| Place { home: Home::Slot, index: slot, ty: TensorType::f32([len]) }))
    }

    fn bound(&self, n: usize, scratch: Option<Place>) -> Result<Binding> {
        let node = &self.graph.nodes[n];
        let inputs = node.inputs.iter().map(|&v| self.place(v)).collect::<Result<Vec<_>>>()?;
        let wanted = |v: &Value| if self.plan.unwanted[v.index()] { Ok(None) } else { self.place(*v).map(Some) };
        let outputs = node.outputs.iter().map(wanted).collect::<Result<Vec<_>>>()?;
        Binding::new(inputs, outputs, node.op.in_place(), &node.op.updates(), scratch).map_err(|e| match e {
            Error::Graph { expected, got, .. } => Error::graph(&node.scope, expected, format!("{got} in {}", node.op.label())),
            other => other,
        })
    }

    /// The graph that is run.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Where its values live.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Writes an input.
    ///
    /// # Errors
    /// [`Error::Graph`] where the name is unknown or the shape differs.
    pub fn write(&mut self, input: &str, tensor: &Tensor) -> Result<()> {
        let place = *self.inputs.get(input).ok_or_else(|| self.graph.missing("inputs", input))?;
        if tensor.shape() != place.ty.shape || tensor.ty().dtype.is_float() != place.ty.dtype.is_float() {
            return Err(Error::graph(input, place.ty, tensor.ty()));
        }
        self.slots.write(place.index, &place.ty, tensor)
    }

    /// Writes a floating-point input from f64, without rounding to f32 on the way.
    ///
    /// # Errors
    /// As [`Session::write`].
    pub fn write_f64(&mut self, input: &str, values: &[f64]) -> Result<()> {
        let place = *self.inputs.get(input).ok_or_else(|| self.graph.missing("inputs", input))?;
        if values.len() != place.ty.len() || !place.ty.dtype.is_float() {
            return Err(Error::graph(input, place.ty, format!("{} numbers", values.len())));
        }
        self.slots.write_f64(place.index, &place.ty, values)
    }

    /// Reads a named result; floating point comes as f32.
    ///
    /// # Errors
    /// [`Error::Graph`] where the name is unknown; [`Error::Device`] on a browser's GPU, see [`Session::read_async`].
    pub fn read(&self, output: &str, store: &mut Store) -> Result<Tensor> {
        now(self.read_async(output, store))
    }

    /// The same; from a browser's GPU results come no other way.
    ///
    /// # Errors
    /// [`Error::Graph`] where the name is unknown.
    pub async fn read_async(&self, output: &str, store: &Store) -> Result<Tensor> {
        let (memory, place) = self.output(output, store)?;
        memory.read(place.index, &place.ty).await
    }

    /// The memory of an input, a result or state of this name, on one of CUDA's devices.
    #[cfg(feature = "vendor")]
    pub(crate) fn part(&self, name: &str, store: &Store) -> Option<crate::device::cuda::Part> {
        let place = self.inputs.get(name).or(self.outputs.get(name)).map(|place| (place.home, place.index));
        let (home, index) = place.or(store.index_of(name).map(|index| (Home::State, index)))?;
        let (DeviceMemory::Cuda(slots), DeviceMemory::Cuda(states)) = (&self.slots, &store.memory) else { return None };
        if home == Home::Slot { slots.raw(index) } else { states.raw(index) }.cloned()
    }

    /// Where a named result lies.
    fn output<'a>(&'a self, output: &str, store: &'a Store) -> Result<(&'a DeviceMemory, &'a Place)> {
        let place = self.outputs.get(output).ok_or_else(|| self.graph.missing("outputs", output))?;
        match place.home {
            Home::Slot => Ok((&self.slots, place)),
            Home::State => self.own(store).map(|()| (&store.memory, place)),
        }
    }

    /// Fails for a store that the session was not made with.
    fn own(&self, store: &Store) -> Result<()> {
        if store.id() == self.store_id { Ok(()) } else { Err(Error::graph("store", "the one that the session was made with", "another")) }
    }

    /// Reads a named result as f64.
    ///
    /// # Errors
    /// As [`Session::read`].
    pub fn read_f64(&self, output: &str, store: &Store) -> Result<Vec<f64>> {
        let (memory, place) = self.output(output, store)?;
        now(memory.read_f64(place.index, &place.ty))
    }

    /// What each node took since the session was made or this was last asked, in the order of [`Graph::nodes`]; no time where
    /// [`Options::timed`] was not set, or a browser's GPU has no clock that can be asked.
    ///
    /// # Errors
    /// [`Error::Device`] where the GPU is lost; always on a browser's, see [`Session::times_async`].
    pub fn times(&mut self) -> Result<Vec<NodeTime>> {
        now(self.times_async())
    }

    /// The same; from a browser's GPU it comes no other way.
    ///
    /// # Errors
    /// [`Error::Device`] where the GPU is lost.
    pub async fn times_async(&mut self) -> Result<Vec<NodeTime>> {
        self.times.take(&self.graph, &self.steps, &self.recording).await
    }

    /// Replays one segment.
    ///
    /// # Errors
    /// [`Error::Graph`] where the session was made with another store; what an operator reports; in a checked session, a write out of bounds.
    pub fn run(&mut self, store: &mut Store, segment: Segment) -> Result<()> {
        self.own(store)?;
        if self.prepared_at != store.generation() {
            self.prepare(store)?;
        }
        let steps = match segment {
            Segment::Prepare => return Ok(()),
            Segment::Run => 0..self.apply_at,
            Segment::Apply => self.apply_at..self.steps.len(),
        };
        let Session { device, graph, slots, steps: all, recording, times, options, .. } = self;
        let replay = Replay { device, graph, steps: all, options: *options };
        replay.run(steps, recording, slots, &mut store.memory, times)?;
        if self.writes_weights.contains(&segment) {
            store.weights_changed();
            self.prepared_at = store.generation();
        }
        Ok(())
    }

    /// Waits until the device has done all that was queued.
    ///
    /// # Errors
    /// [`Error::Device`] where it went wrong or the GPU is lost.
    pub fn wait(&self) -> Result<()> {
        self.slots.wait()
    }

    /// Replays one segment on a session that is neither checked nor timed, waits until the device is done, and says what it took. What depends on weights alone
    /// is computed before.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_clocked(&mut self, store: &mut Store, segment: Segment) -> Result<Clocked> {
        self.own(store)?;
        if self.prepared_at != store.generation() {
            self.prepare(store)?;
        }
        let Session { device, graph, slots, steps: all, recording, options, .. } = self;
        let steps = if segment == Segment::Apply { self.apply_at..all.len() } else { 0..self.apply_at };
        Replay { device, graph, steps: all, options: *options }.clocked(steps, recording, slots, &mut store.memory)
    }

    /// Computes what depends on weights alone, rearranges constant inputs as operators like them, and frees what was only needed for that.
    fn prepare(&mut self, store: &mut Store) -> Result<()> {
        let graph = self.graph.clone();
        packs::separate(store, &graph, &self.steps)?;
        let updated = graph.updated();
        let on_cpu = matches!(self.slots, DeviceMemory::Cpu(_));
        let mut packs = Vec::new();
        for (s, step) in self.steps.iter().enumerate() {
            let node = &graph.nodes[step.node];
            for (i, v) in node.inputs.iter().enumerate() {
                let Some(state) = self.state_index[v.index()] else { continue };
                let fixed = matches!(graph.info(*v).source, Source::State(k) if k.is_weight() || k == StateKind::Derived) && !updated[v.index()];
                match node.op.pack_layout(i).filter(|_| fixed && on_cpu) {
                    Some(layout) => packs.push((s, i, state, layout)),
                    None => store.pin(state),
                }
            }
        }
        // The largest first: while one is rearranged it is there two or three times, which matters least while little else is.
        packs.sort_by_key(|&(_, _, state, _)| std::cmp::Reverse(store.bytes(state)));
        self.outputs.values().filter(|p| p.home == Home::State).for_each(|p| store.pin(p.index));
        let state_index = &self.state_index;
        let prepares = graph.nodes.iter().enumerate().filter(|(_, n)| n.segment == Segment::Prepare);
        let maker: HashMap<usize, usize> =
            prepares.flat_map(|(n, node)| node.outputs.iter().filter_map(move |v| Some((state_index[v.index()]?, n)))).collect();
        for (s, i, state, layout) in packs {
            let packed = match store.packed(state, layout) {
                Some(packed) => packed,
                None => {
                    self.demand(store, &maker, state)?;
                    let node = &graph.nodes[self.steps[s].node];
                    let data = store.floats_f32(state).unwrap_or(&[]);
                    let packed = self.device.install(|| node.op.pack(i, &graph.ty(node.inputs[i]), data));
                    let packed = packed.ok_or_else(|| Error::graph(&node.scope, "a packed input", node.op.label()))?;
                    store.keep_packed(state, layout, packed.clone());
                    self.release(store, &maker, state);
                    if store.bytes(state) >= LARGE {
                        give_back_freed();
                    }
                    packed
                }
            };
            self.steps[s].binding.set_packed(i, packed);
        }
        let read = self.steps.iter().flat_map(|s| graph.nodes[s.node].inputs.iter()).chain(graph.outputs.iter().map(|(_, v)| v));
        for state in read.filter_map(|v| self.state_index[v.index()]) {
            if store.is_pinned(state) {
                self.demand(store, &maker, state)?;
            }
        }
        for state in self.state_index.iter().flatten() {
            store.release_idle(*state);
        }
        give_back_freed();
        // State that was brought in lies in new buffers.
        let replay = Replay { device: &self.device, graph: &graph, steps: &self.steps, options: self.options };
        self.recording = replay.record(&self.slots, &store.memory)?;
        self.prepared_at = store.generation();
        Ok(())
    }

    /// Makes a piece of constant state resident: computed by its prepare node, or loaded.
    fn demand(&self, store: &mut Store, maker: &HashMap<usize, usize>, state: usize) -> Result<()> {
        if store.is_resident(state) {
            return Ok(());
        }
        let Some(&n) = maker.get(&state) else { return store.load(state) };
        let node = &self.graph.nodes[n];
        for v in &node.inputs {
            if let Some(input) = self.state_index[v.index()] {
                self.demand(store, maker, input)?;
            }
        }
        for v in &node.outputs {
            if let Some(output) = self.state_index[v.index()] {
                store.make_room(output)?;
            }
        }
        let types: Vec<TensorType> = node.inputs.iter().map(|&v| self.graph.ty(v)).collect();
        let scratch = TensorType::f32([scratch_of(&*node.op, &types, self.device.threads())]);
        let mut slots = DeviceMemory::new(&self.device);
        let scratch = match scratch.len() {
            0 => None,
            _ => Some(Place { home: Home::Slot, index: slots.push(Room::of(&scratch), false)?, ty: scratch }),
        };
        let step = Step { node: n, binding: self.bound(n, scratch)? };
        let replay = Replay { device: &self.device, graph: &self.graph, steps: std::slice::from_ref(&step), options: Options::default() };
        slots.extend(&[], &replay.scratch(&slots)?, false, false)?;
        let recording = replay.record(&slots, &store.memory)?;
        replay.run(0..1, &recording, &mut slots, &mut store.memory, &mut Times::default())?;
        for v in &node.outputs {
            if let Some(output) = self.state_index[v.index()] {
                store.mark_fresh(output);
            }
        }
        Ok(())
    }

    /// Frees what [`Session::demand`] brought in, where nothing reads it in a run.
    fn release(&self, store: &mut Store, maker: &HashMap<usize, usize>, state: usize) {
        store.release_idle(state);
        if let Some(&n) = maker.get(&state) {
            for v in &self.graph.nodes[n].inputs {
                if let Some(input) = self.state_index[v.index()] {
                    self.release(store, maker, input);
                }
            }
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("device", &self.device).field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}
