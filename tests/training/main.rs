//! The training step: micro-steps add up to a batch, optimizers follow PyTorch's formulas, what is frozen stays, averages and the loss
//! scale move as they should, a step that is not finite changes nothing, repeats are equal bit for bit.

mod averages;
mod freezing;
mod half_precision;
mod micro_steps;
mod optimizers;
mod run;

use escnet::DType;
use escnet::graph::Segment;
use escnet::model::layers::CONTROL;
use escnet::train::{STEP, StepOptions};
use run::{CAPTIONER, CLASSIFIER, Run};

#[test]
fn the_next_inputs_may_be_written_as_soon_as_a_micro_step_has_run() {
    for stage in [CLASSIFIER, CAPTIONER] {
        let left = |early: bool| {
            let mut run = Run::new(stage, &StepOptions { ema: Some(0.9), ..StepOptions::default() });
            run.write_batch(stage);
            run.control(0, 0);
            run.run(Segment::Run);
            if early {
                run.overwrite_inputs();
            }
            run.run(Segment::Apply);
            assert!(run.finite());
            (run.number("loss").to_bits(), run.number("grad_norm").to_bits(), run.bits())
        };
        assert!(left(false) == left(true), "{stage:?}");
    }
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let options = StepOptions { ema: Some(0.9), ..StepOptions::default() };
    let mut run = Run::new(CLASSIFIER, &options);
    run.write_batch(CLASSIFIER);
    run.step(0);
    assert!(run.finite());
    let owned = |all: Vec<(String, Vec<u64>)>| -> Vec<_> {
        all.into_iter().filter(|(n, _)| !n.starts_with("grad.") && !n.ends_with(".staged") && n != CONTROL).collect()
    };
    let before = owned(run.bits());
    run.poison();
    run.step(1);
    assert!(!run.finite());
    assert!(owned(run.bits()) == before, "parameters, statistics, moments, averages or the step count changed");
    run.write_batch(CLASSIFIER);
    run.step(1);
    assert_eq!(run.count(STEP), 2);
    assert!(owned(run.bits()) != before);
}

#[test]
fn steps_repeat_bit_for_bit_on_any_number_of_threads() {
    let train = |threads: usize| {
        let options = StepOptions { ema: Some(0.9), loss_scale: true, ..StepOptions::default() };
        let mut run = Run::with(CLASSIFIER, &options, DType::F32, threads);
        run.write_batch(CLASSIFIER);
        for step in 0..3 {
            run.step(step);
        }
        run.bits()
    };
    let once = train(1);
    assert!(once == train(1), "on repeat");
    assert!(once == train(3), "on three threads");
}
