//! The graph itself: gradients, precision, planning, state, stores and sessions, on small graphs of real operators.

mod epilogues;
mod gradient;
mod hoisting;
mod planning;
mod precision;
mod random;
mod sessions;
mod state;

use escnet::graph::{Builder, Graph, Options, Segment, Session, Store, Value};
use escnet::{Device, Tensor, TensorType};

/// A checked session on one thread, with its store.
struct Rig {
    session: Session,
    store: Store,
}

impl Rig {
    fn new(graph: Graph) -> Self {
        Self::on(graph, Store::new(&Device::cpu(1).unwrap()))
    }

    fn on(graph: Graph, mut store: Store) -> Self {
        let session = Session::new(graph, &mut store, Options { checked: true, ..Options::default() }).unwrap();
        Rig { session, store }
    }

    fn write(&mut self, input: &str, numbers: &[f32]) -> &mut Self {
        let value = self.session.graph().named(input).unwrap();
        let shape = self.session.graph().ty(value).shape;
        self.session.write(input, &Tensor::from_f32(shape, numbers.to_vec()).unwrap()).unwrap();
        self
    }

    fn set(&mut self, state: &str, numbers: &[f32]) -> &mut Self {
        set(&mut self.store, state, numbers);
        self
    }

    fn run(&mut self) -> &mut Self {
        self.session.run(&mut self.store, Segment::Run).unwrap();
        self
    }

    fn apply(&mut self) -> &mut Self {
        self.session.run(&mut self.store, Segment::Apply).unwrap();
        self
    }

    fn read(&mut self, output: &str) -> Vec<f32> {
        self.session.read(output, &mut self.store).unwrap().to_f32()
    }

    fn state(&mut self, name: &str) -> Vec<f32> {
        self.store.read(name).unwrap().to_f32()
    }
}

fn set(store: &mut Store, state: &str, numbers: &[f32]) {
    let (_, ty, _) = store.entries().find(|(name, ..)| *name == state).unwrap();
    store.write(state, &Tensor::from_f32(ty.shape, numbers.to_vec()).unwrap()).unwrap();
}

/// An f32 input of one dimension.
fn input(b: &mut Builder, name: &str, len: usize) -> Value {
    b.input(name, TensorType::f32([len])).unwrap()
}
