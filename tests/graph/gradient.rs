//! Reverse-mode differentiation.

use super::{Rig, input};
use escnet::graph::{Builder, gradients};
use escnet::ops::{add::add, grad_norm::grad_norm, mul::mul, relu::relu, rules, scale::scale};
use escnet::{Error, Tensor};

#[test]
fn gradients_of_a_shared_input_are_summed() {
    let mut b = Builder::new();
    let x = input(&mut b, "x", 3);
    // y = x^2 + 5 x + relu(x)
    let square = mul(&mut b, x, x).unwrap();
    let five = scale(&mut b, x, 5.0).unwrap();
    let part = add(&mut b, square, five).unwrap();
    let positive = relu(&mut b, x).unwrap();
    let y = add(&mut b, part, positive).unwrap();
    let dy = input(&mut b, "dy", 3);
    let found = gradients(&mut b, &rules(), &[(y, dy)], &[x]).unwrap();
    b.output("dx", found[0].unwrap());
    let mut rig = Rig::new(b.finish());
    let dx = rig.write("x", &[1.0, -2.0, 3.0]).write("dy", &[1.0, 10.0, -1.0]).run().read("dx");
    assert_eq!(dx, [1.0 * (2.0 + 5.0 + 1.0), 10.0 * (-4.0 + 5.0), -(6.0 + 5.0 + 1.0)]);
}

#[test]
fn seeds_add_up_wherever_they_enter() {
    let mut b = Builder::new();
    let x = input(&mut b, "x", 1);
    let middle = scale(&mut b, x, 3.0).unwrap();
    let y = scale(&mut b, middle, 7.0).unwrap();
    let one = b.constant(Tensor::from_f32([1], vec![1.0]).unwrap());
    // Twice at the end, once in the middle; and the gradient of the middle itself.
    let found = gradients(&mut b, &rules(), &[(y, one), (middle, one), (y, one)], &[x, middle]).unwrap();
    b.output("dx", found[0].unwrap());
    b.output("dm", found[1].unwrap());
    let mut rig = Rig::new(b.finish());
    rig.write("x", &[1.0]).run();
    assert_eq!((rig.read("dm"), rig.read("dx")), (vec![15.0], vec![45.0]));
}

#[test]
fn what_the_seeds_do_not_depend_on_has_no_gradient_and_costs_nothing() {
    let mut b = Builder::new();
    let (x, other) = (input(&mut b, "x", 1), input(&mut b, "other", 1));
    let product = mul(&mut b, x, other).unwrap();
    let dy = input(&mut b, "dy", 1);
    let unused = input(&mut b, "unused", 1);
    let found = gradients(&mut b, &rules(), &[(product, dy)], &[x, unused]).unwrap();
    assert!(found[0].is_some() && found[1].is_none());
    // mul, and one mul for dx: the gradient of `other` is not computed.
    assert_eq!(b.graph().nodes().len(), 2);
}

#[test]
fn an_operator_without_a_backward_rule_is_named() {
    let mut b = Builder::new();
    let x = input(&mut b, "x", 4);
    let (norm, _) = b.scoped("head", |b| grad_norm(b, &[x])).unwrap();
    let dy = b.constant(Tensor::scalar(1.0));
    match gradients(&mut b, &rules(), &[(norm, dy)], &[x]) {
        Err(Error::Graph { name, got, .. }) => assert_eq!((name.as_str(), got.as_str()), ("head", "grad_norm")),
        other => panic!("{other:?}"),
    }
}
