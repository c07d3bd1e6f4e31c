//! The loss scale, and training in half precision, rehearsed by rounding.

use crate::run::{CAPTIONER, CLASSIFIER, Run};
use escnet::graph::{Segment, Source, StateKind, lower_precision};
use escnet::ops::rules;
use escnet::train::{GOOD_STEPS, INITIAL_LOSS_SCALE, LOSS_SCALE, STEP, Stage, Step, StepOptions, build};
use escnet::{DType, Tensor};

fn scaled() -> StepOptions<'static> {
    StepOptions { loss_scale: true, ema: Some(0.9), ..StepOptions::default() }
}

#[test]
fn in_f32_a_scaled_loss_trains_bit_for_bit_as_one_that_is_not() {
    for stage in [CLASSIFIER, CAPTIONER] {
        let train = |options: &StepOptions| {
            let mut run = Run::new(stage, options);
            run.write_batch(stage);
            for step in 0..4 {
                // Two micro-steps each.
                run.control(step, 0);
                run.run(Segment::Run);
                run.control(step, 1);
                run.run(Segment::Run);
                run.run(Segment::Apply);
            }
            run
        };
        let mut with = train(&StepOptions { growth_interval: 3, ..scaled() });
        let mut without = train(&StepOptions { loss_scale: false, ..scaled() });
        assert_eq!(with.state(LOSS_SCALE), [2.0 * f64::from(INITIAL_LOSS_SCALE)]);
        assert_eq!(with.count(GOOD_STEPS), 1);
        let own = |n: &String| n == LOSS_SCALE || n == GOOD_STEPS;
        let with: Vec<_> = with.bits().into_iter().filter(|(n, _)| !own(n)).collect();
        let without = without.bits();
        assert_eq!(with.len(), without.len());
        for (name, bits) in with {
            assert!(without.iter().any(|(n, b)| *n == name && *b == bits), "{name}");
        }
    }
}

#[test]
fn a_step_that_overflows_is_skipped_and_halves_the_scale() {
    let options = StepOptions { growth_interval: 2, ..scaled() };
    let mut run = Run::with(CLASSIFIER, &options, DType::F16, 2);
    run.write_batch(CLASSIFIER);
    let most = 16_777_216.0;
    run.store.write(LOSS_SCALE, &Tensor::from_f32([1], vec![most]).unwrap()).unwrap();
    let kept = |run: &mut Run| -> Vec<_> {
        let model = |n: &str| n.starts_with("backbone.") || n.starts_with("adamw.") || n.starts_with("ema.") || n == STEP;
        run.bits().into_iter().filter(|(n, _)| model(n) && !n.ends_with(".staged")).collect()
    };
    let before = kept(&mut run);
    let mut scale = f64::from(most);
    run.step(0);
    assert!(!run.finite(), "2^24 does not overflow");
    while !run.finite() {
        scale /= 2.0;
        assert_eq!(run.state(LOSS_SCALE), [scale]);
        assert_eq!((run.count(GOOD_STEPS), run.count(STEP)), (0, 0));
        assert!(kept(&mut run) == before, "a step that was skipped left something");
        assert!(scale > 1.0, "nothing is finite");
        run.step(0);
    }
    assert_eq!((run.count(GOOD_STEPS), run.count(STEP)), (1, 1));
    assert_eq!(run.state(LOSS_SCALE), [scale]);
    // The second finite step in a row doubles it, the next overflows again and takes it back.
    run.step(1);
    assert!(run.finite());
    assert_eq!(run.state(LOSS_SCALE), [2.0 * scale]);
    assert_eq!((run.count(GOOD_STEPS), run.count(STEP)), (0, 2));
}

#[test]
fn the_scale_saves_gradients_that_f16_would_lose() {
    let gradients = |dtype: DType, loss_scale: bool| {
        let mut run = Run::with(CAPTIONER, &StepOptions { loss_scale, ..StepOptions::default() }, dtype, 2);
        run.write_batch(CAPTIONER);
        // As in a batch of 2^18 tokens, summed over micro-steps.
        run.denominator(1 << 18);
        run.control(0, 0);
        run.run(Segment::Run);
        run.gradients().into_iter().flat_map(|(_, g)| g).collect::<Vec<f64>>()
    };
    let exact = gradients(DType::F32, false);
    let length = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let error = |g: Vec<f64>| length(&mut g.iter().zip(&exact).map(|(g, e)| g - e)) / length(&mut exact.iter().copied());
    let (with, without) = (error(gradients(DType::F16, true)), error(gradients(DType::F16, false)));
    assert!(with < 0.05 && without > 4.0 * with, "with the scale {with:.3}, without {without:.3}");
}

/// 20 steps on one batch, over which the loss must fall.
fn falls(stage: Stage, dtype: DType, options: &StepOptions) -> Run {
    let mut run = Run::with(stage, options, dtype, 2);
    run.write_batch(stage);
    let losses: Vec<f32> = (0..20).map(|step| run.step(step)).collect();
    // The scale starts high on purpose and takes some steps to come down.
    let applied = run.count(STEP);
    assert!(applied >= 12, "{applied} of 20 steps applied");
    assert!(losses[19] < 0.8 * losses[0], "{dtype}: {losses:?}");
    run
}

#[test]
fn f16_trains_both_stages() {
    falls(CLASSIFIER, DType::F16, &scaled());
    falls(CAPTIONER, DType::F16, &scaled());
}

#[test]
fn bf16_trains_both_stages_on_f32_masters() {
    for stage in [CLASSIFIER, CAPTIONER] {
        let mut run = falls(stage, DType::BF16, &StepOptions { ema: Some(0.9), ..StepOptions::default() });
        for name in run.step.parameters.clone() {
            let finer = |x: &f32| x.to_bits() & 0xffff != 0;
            assert!(run.store.read(&name).unwrap().to_f32().iter().any(finer), "{name} holds bf16 numbers only");
        }
    }
}

#[test]
fn what_is_kept_between_steps_is_f32() {
    for dtype in [DType::BF16, DType::F16] {
        let Step { graph, parameters } = build(&crate::run::config(), CLASSIFIER, &scaled()).unwrap();
        let low = lower_precision(&graph, &rules(), dtype).unwrap();
        assert!(low.states().filter(|(.., kind)| *kind != StateKind::Derived).all(|(_, info, _)| info.ty.dtype.size() == 4));
        let halves = low.values().filter(|(_, v)| v.source == Source::Node && v.ty.dtype == dtype).count();
        assert!(halves > parameters.len(), "{halves} values in {dtype}");
    }
}
