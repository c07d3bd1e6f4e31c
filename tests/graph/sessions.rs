//! What sessions and stores refuse.

use super::input;
use escnet::graph::{Builder, Graph, Options, Segment, Session, StateKind, Store};
use escnet::ops::{add::add, relu::relu};
use escnet::{DType, Device, Error, Result, Tensor, TensorType};

fn graph() -> Graph {
    let mut b = Builder::new();
    let x = input(&mut b, "x", 3);
    let w = b.parameter("w", [3]).unwrap();
    let y = add(&mut b, x, w).unwrap();
    b.output("y", y);
    b.output("w", w);
    b.finish()
}

fn session(store: &mut Store) -> Session {
    Session::new(graph(), store, Options::default()).unwrap()
}

fn store() -> Store {
    Store::new(&Device::cpu(1).unwrap())
}

/// The complaint names the tensor, and says these words somewhere.
#[track_caller]
fn complains<T>(result: Result<T>, tensor: &str, words: &[&str]) {
    let Err(error) = result else { panic!("no complaint about {tensor}") };
    let (Error::Graph { name, .. } | Error::Op { tensor: name, .. }) = &error else { panic!("{error}") };
    assert!(name.contains(tensor), "{error}");
    assert!(words.iter().all(|w| error.to_string().contains(w)), "{error}");
}

#[test]
fn unknown_names_are_errors_that_list_the_known() {
    let mut store = store();
    let mut session = session(&mut store);
    let three = Tensor::from_f32([3], vec![0.0; 3]).unwrap();
    complains(session.write("z", &three), "z", &["inputs", "x"]);
    complains(session.write("w", &three), "w", &["inputs"]);
    complains(session.write_f64("z", &[0.0; 3]), "z", &["inputs", "x"]);
    complains(session.read("z", &mut store), "z", &["outputs"]);
    complains(session.read_f64("z", &store), "z", &["outputs"]);
    complains(store.write("z", &three), "z", &["store"]);
    complains(store.write_f64("z", &[0.0; 3]), "z", &["store"]);
    complains(store.read("z"), "z", &["store"]);
}

#[test]
fn wrong_shapes_and_types_are_errors_that_name_both() {
    let mut store = store();
    let mut session = session(&mut store);
    let four = Tensor::from_f32([4], vec![0.0; 4]).unwrap();
    let ints = Tensor::from_i32([3], vec![0; 3]).unwrap();
    complains(session.write("x", &four), "x", &["f32[3]", "f32[4]"]);
    complains(session.write("x", &ints), "x", &["f32[3]", "i32[3]"]);
    complains(session.write_f64("x", &[0.0; 4]), "x", &["f32[3]", "4"]);
    complains(store.write("w", &four), "w", &["f32[3]", "f32[4]"]);
    complains(store.write("w", &ints), "w", &["f32[3]", "i32[3]"]);
    complains(store.write_f64("w", &[0.0; 4]), "w", &["f32[3]", "4"]);
    store.ensure("counter", TensorType::i32([1]), StateKind::Control).unwrap();
    complains(store.write_f64("counter", &[0.0]), "counter", &["i32[1]"]);
}

#[test]
fn an_operator_that_does_not_fit_names_scope_and_tensor() {
    let mut b = Builder::new();
    let (x, y) = (input(&mut b, "x", 3), input(&mut b, "y", 4));
    complains(b.scoped("head", |b| add(b, x, y)), "head: b", &["add", "f32[3]", "f32[4]"]);
    let ints = b.input("ids", TensorType::i32([3])).unwrap();
    complains(relu(&mut b, ints), "x", &["relu", "floating point", "i32[3]"]);
}

#[test]
fn a_name_stands_for_one_thing() {
    let mut b = Builder::new();
    let x = input(&mut b, "x", 3);
    assert_eq!(b.input("x", TensorType::f32([3])).unwrap(), x);
    complains(b.input("x", TensorType::f32([4])), "x", &["f32[3]", "f32[4]"]);
    complains(b.global_state("x", TensorType::f32([3]), StateKind::Cache), "x", &["Input", "Cache"]);
    let mut store = store();
    store.ensure("w", TensorType::new(DType::F32, [5]), StateKind::Parameter).unwrap();
    complains(Session::new(graph(), &mut store, Options::default()), "w", &["f32[5]", "f32[3]"]);
}

#[test]
fn a_session_runs_on_its_own_store() {
    let mut own = store();
    let mut session = session(&mut own);
    for mut other in [store(), Store::new(&Device::reference().unwrap())] {
        complains(session.run(&mut other, Segment::Run), "store", &[]);
        complains(session.read("w", &mut other), "store", &[]);
        complains(session.read_f64("w", &other), "store", &[]);
    }
    session.run(&mut own, Segment::Run).unwrap();
}
