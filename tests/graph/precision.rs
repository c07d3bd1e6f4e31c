//! Lowering to half precision.

use super::Rig;
use escnet::graph::{Builder, Graph, Segment, Source, StateKind, fuse, lower_precision};
use escnet::ops::assign::assign;
use escnet::ops::linear::{Activation, linear};
use escnet::ops::reduce::{Axes, Reduction, reduce};
use escnet::ops::{add::add, relu::relu, reshape::reshape, rules, tanh::tanh};
use escnet::{DType, TensorType};

fn count(graph: &Graph, stem: &str) -> usize {
    graph.nodes().iter().filter(|n| n.op.stem() == stem).count()
}

/// Two products of one input and one weight, joined, summed in f32.
fn two_products() -> Graph {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([3, 4])).unwrap();
    let w = b.parameter("w", [4, 4]).unwrap();
    let once = linear(&mut b, x, w, None, Activation::None).unwrap();
    let twice = linear(&mut b, once, w, None, Activation::None).unwrap();
    let thrice = linear(&mut b, x, w, None, Activation::Relu).unwrap();
    let sum = add(&mut b, twice, thrice).unwrap();
    let total = reduce(&mut b, sum, Reduction::Sum, Axes::All).unwrap();
    b.output("sum", sum);
    b.output("total", total);
    b.finish()
}

#[test]
fn each_value_is_cast_once_and_results_are_f32() {
    let low = lower_precision(&two_products(), &rules(), DType::BF16).unwrap();
    // x and w down; the sum up, for `reduce` and as a result.
    assert_eq!(count(&low, "cast"), 3);
    for node in low.nodes() {
        let dtypes: Vec<DType> = node.inputs.iter().chain(&node.outputs).map(|&v| low.ty(v).dtype).collect();
        match node.op.stem() {
            "linear" | "add" => assert!(dtypes.iter().all(|&d| d == DType::BF16), "{:?}: {dtypes:?}", node.op),
            "reduce" => assert!(dtypes.iter().all(|&d| d == DType::F32)),
            _ => {}
        }
    }
    assert!(low.outputs().iter().all(|(_, v)| low.ty(*v).dtype == DType::F32));
    let (_, w, _) = low.states().next().unwrap();
    assert_eq!(w.ty.dtype, DType::F32);
}

#[test]
fn f32_is_left_as_it_is() {
    let graph = two_products();
    let same = lower_precision(&graph, &rules(), DType::F32).unwrap();
    assert_eq!(same.nodes().len(), graph.nodes().len());
}

#[test]
fn rounding_is_the_same_whether_casts_are_hoisted_or_not() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([3, 4])).unwrap();
    let w = b.parameter("w", [4, 4]).unwrap();
    // What stands behind a product keeps it from being finished otherwise.
    let y = linear(&mut b, x, w, None, Activation::None).unwrap();
    let y = tanh(&mut b, y).unwrap();
    b.output("y", y);
    let low = lower_precision(&b.finish(), &rules(), DType::BF16).unwrap();
    let fused = fuse(low.clone(), &rules()).unwrap();
    assert!(fused.values().any(|(_, v)| v.source == Source::State(StateKind::Derived)));
    let results: Vec<Vec<f32>> = [low, fused]
        .into_iter()
        .map(|graph| {
            let mut rig = Rig::new(graph);
            let numbers = |n: usize, k: f32| (0..n).map(|i| (i as f32 * k).sin()).collect::<Vec<_>>();
            rig.set("w", &numbers(16, 0.37)).write("x", &numbers(12, 0.71)).run();
            rig.read("y")
        })
        .collect();
    assert_eq!(results[0], results[1]);
}

#[test]
fn integers_and_updated_state_keep_their_type_and_a_new_content_is_cast_anew() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([2, 2])).unwrap();
    let s = b.state("s", TensorType::f32([2, 2]), StateKind::Moment).unwrap();
    let view = reshape(&mut b, s, [4]).unwrap();
    let view = reshape(&mut b, view, [2, 2]).unwrap();
    let before = linear(&mut b, x, s, None, Activation::None).unwrap();
    let before_view = linear(&mut b, x, view, None, Activation::None).unwrap();
    assign(&mut b, s, x).unwrap();
    let after = linear(&mut b, x, s, None, Activation::None).unwrap();
    let after_view = linear(&mut b, x, view, None, Activation::None).unwrap();
    for (name, v) in [("before", before), ("before_view", before_view), ("after", after), ("after_view", after_view)] {
        b.output(name, v);
    }
    let low = lower_precision(&b.finish(), &rules(), DType::BF16).unwrap();
    assert_eq!(low.states().next().unwrap().1.ty.dtype, DType::F32);
    let mut rig = Rig::new(low);
    rig.set("s", &[1.0, 0.0, 0.0, 1.0]).write("x", &[1.0, 2.0, 3.0, 4.0]).run();
    for name in ["before", "before_view"] {
        assert_eq!(rig.read(name), [1.0, 2.0, 3.0, 4.0], "{name}");
    }
    // x x^T
    for name in ["after", "after_view"] {
        assert_eq!(rig.read(name), [5.0, 11.0, 11.0, 25.0], "{name}");
    }
}

#[test]
fn an_operator_that_follows_is_low_only_where_all_its_inputs_are() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([4, 4])).unwrap();
    let r = relu(&mut b, x).unwrap();
    let product = linear(&mut b, x, x, None, Activation::None).unwrap();
    let mixed = add(&mut b, product, r).unwrap();
    let low_only = relu(&mut b, product).unwrap();
    b.output("mixed", mixed);
    b.output("low", low_only);
    let low = lower_precision(&b.finish(), &rules(), DType::BF16).unwrap();
    let dtypes: Vec<DType> = low.nodes().iter().filter(|n| ["relu", "add"].contains(&n.op.stem())).map(|n| low.ty(n.outputs[0]).dtype).collect();
    assert_eq!(dtypes, [DType::F32, DType::F32, DType::BF16]);
}

#[test]
fn a_result_is_cast_in_the_segment_that_makes_it() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([1, 1])).unwrap();
    let y = linear(&mut b, x, x, None, Activation::None).unwrap();
    b.output("y", y);
    b.set_segment(Segment::Apply);
    let z = linear(&mut b, x, y, None, Activation::None).unwrap();
    b.output("z", z);
    let mut rig = Rig::new(lower_precision(&b.finish(), &rules(), DType::BF16).unwrap());
    assert_eq!(rig.write("x", &[3.0]).run().read("y"), [9.0]);
    assert_eq!(rig.apply().read("z"), [27.0]);
}

/// A cache is kept in half precision where nobody needs it in f32; parameters and other state are not.
#[test]
fn caches_are_low_where_all_that_reads_them_is() {
    for full in [false, true] {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::f32([4, 4])).unwrap();
        let w = b.parameter("w", [4, 4]).unwrap();
        let cache = b.global_state("cache", TensorType::f32([4, 4]), StateKind::Cache).unwrap();
        let before = linear(&mut b, x, cache, None, Activation::None).unwrap();
        b.output("before", before);
        let y = linear(&mut b, x, w, None, Activation::None).unwrap();
        assign(&mut b, cache, y).unwrap();
        if full {
            let total = reduce(&mut b, cache, Reduction::Sum, Axes::All).unwrap();
            b.output("total", total);
        }
        let low = lower_precision(&b.finish(), &rules(), DType::F16).unwrap();
        let dtype = |name: &str| low.states().find(|(_, info, _)| info.name == name).map(|(_, info, _)| info.ty.dtype);
        assert_eq!(dtype("cache"), Some(if full { DType::F32 } else { DType::F16 }));
        assert_eq!(dtype("w"), Some(DType::F32));
        let mut rig = Rig::new(low);
        rig.write("x", &[1.0; 16]);
        rig.set("w", &[0.1; 16]);
        assert_eq!(rig.run().read("before"), [0.0; 16]);
        // 0.4 and its factors, each rounded to eleven bits.
        let half = |x: f32| half::f16::from_f32(x).to_f32();
        assert_eq!(rig.run().read("before"), [half(4.0 * half(4.0 * half(0.1))); 16]);
    }
}
