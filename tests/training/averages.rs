//! Moving averages of parameters.

use crate::run::{CLASSIFIER, Run};
use escnet::train::{Step, StepOptions};

#[test]
fn averages_warm_up_and_leave_the_rest_alone() {
    let decay = 0.2;
    let mut plain = Run::new(CLASSIFIER, &StepOptions::default());
    let mut run = Run::new(CLASSIFIER, &StepOptions { ema: Some(decay), ..StepOptions::default() });
    let names = run.step.parameters.clone();
    run.write_batch(CLASSIFIER);
    plain.write_batch(CLASSIFIER);
    let mut averages: Vec<Vec<f64>> = Vec::new();
    for step in 0..4 {
        run.step(step);
        plain.step(step);
        let parameters: Vec<Vec<f64>> = names.iter().map(|n| run.state(n)).collect();
        // With n updates since the start: min(decay, (1 + n) / (10 + n)); here 0.1, 0.18 and 0.2.
        let n = f64::from(step - 1);
        let d = decay.min((1.0 + n) / (10.0 + n));
        if step == 0 {
            averages = parameters;
        } else {
            averages.iter_mut().flatten().zip(parameters.into_iter().flatten()).for_each(|(a, p)| *a = d * *a + (1.0 - d) * p);
        }
    }
    for (name, want) in names.iter().zip(averages) {
        let got = run.state(&Step::average(name));
        let parameter = run.state(name);
        let far = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
        let scale = want.iter().fold(0.0, |most: f64, w| most.max(w.abs()));
        assert!(far <= 4e-7 * scale, "{name}: {far:e} of {scale:e}");
        assert_ne!(got, parameter, "{name}: the average is the parameter");
        assert_eq!(parameter, plain.state(name), "{name} is trained otherwise for being averaged");
    }
}
