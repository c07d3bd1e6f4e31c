//! Micro-steps add up to a batch.

use crate::run::Run;
use escnet::graph::Segment;
use escnet::model::escnet::Trained;
use escnet::train::{Stage, StepOptions};

fn same(a: &[(String, Vec<f64>)], b: &[(String, Vec<f64>)]) {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let whole = norm(&mut a.iter().flat_map(|(_, v)| v.iter().copied()));
    assert!(whole > 0.0);
    for ((name, a), (_, b)) in a.iter().zip(b) {
        let (size, difference) = (norm(&mut a.iter().copied()), norm(&mut a.iter().zip(b).map(|(a, b)| a - b)));
        let measure = if size < 1e-7 * whole { whole } else { size };
        // Sums of other order: as far apart as either may be from PyTorch.
        assert!(difference <= 1e-4 * measure, "{name}: {difference:e} of {size:e}");
    }
}

#[test]
fn captioner_micro_steps_add_up_to_a_ragged_batch() {
    let length = 11;
    let mut whole = Run::new(Stage::Caption { batch: 4, length }, &StepOptions::default());
    let counted = whole.write_captioner(0, 4);
    whole.denominator(counted);
    whole.control(0, 0);
    whole.run(Segment::Run);

    let mut parts = Run::new(Stage::Caption { batch: 1, length }, &StepOptions::default());
    parts.denominator(counted);
    // The first of another step is there to be overwritten.
    parts.write_captioner(2, 1);
    parts.control(0, 0);
    parts.run(Segment::Run);
    for i in 0..4 {
        parts.write_captioner(i, 1);
        parts.control(0, i as i32);
        parts.run(Segment::Run);
    }
    same(&whole.gradients(), &parts.gradients());
}

#[test]
fn classifier_micro_steps_add_up_to_a_batch() {
    // Batch norm in training mode sees each micro-batch alone, so the backbone is frozen here.
    let trained = Trained { backbone: false, ..Trained::ALL };
    let mut whole = Run::new(Stage::Classify { batch: 4, words: 12, trained }, &StepOptions::default());
    whole.write_classifier(0, 4);
    whole.denominator(4);
    whole.control(0, 0);
    whole.run(Segment::Run);

    let mut parts = Run::new(Stage::Classify { batch: 2, words: 12, trained }, &StepOptions::default());
    parts.denominator(4);
    for i in 0..2 {
        parts.write_classifier(2 * i, 2);
        parts.control(0, i as i32);
        parts.run(Segment::Run);
    }
    assert!(whole.step.parameters.iter().all(|n| !n.starts_with("backbone.")));
    same(&whole.gradients(), &parts.gradients());
}
