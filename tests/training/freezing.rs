//! What is frozen stays as it is, to the bit, and runs as in inference; the rest trains as before.

use crate::run::{CAPTIONER, CLASSIFIER, Run, config};
use escnet::graph::Segment;
use escnet::train::{Stage, Step, StepOptions, build};
use std::collections::BTreeMap;

fn frozen_by(prefixes: &'static [&'static str]) -> impl Fn(&str) -> bool {
    move |name| prefixes.iter().any(|p| name.starts_with(p))
}

/// Two steps; gives all state before and after.
fn train(frozen: &dyn Fn(&str) -> bool) -> (Run, [BTreeMap<String, Vec<u64>>; 2]) {
    let mut run = Run::new(CLASSIFIER, &StepOptions { frozen, ema: Some(0.9), ..StepOptions::default() });
    run.write_batch(CLASSIFIER);
    let before = run.bits().into_iter().collect();
    for step in 0..2 {
        run.step(step);
    }
    let after = run.bits().into_iter().collect();
    (run, [before, after])
}

#[test]
fn frozen_layers_of_the_backbone_keep_their_numbers_and_statistics() {
    // The lower layers whole, and one batch norm that gradients must pass through.
    let frozen = frozen_by(&["backbone.conv1.", "backbone.bn1.", "backbone.layer1.", "backbone.layer3.0.bn2."]);
    let (run, [before, after]) = train(&frozen);
    assert!(run.step.parameters.iter().all(|n| !frozen(n)));
    assert!(after.keys().all(|n| ["grad.", "adamw.m.", "adamw.v.", "ema."].iter().all(|k| !n.strip_prefix(k).is_some_and(&frozen))));
    let model = |n: &&String| n.starts_with("backbone.") && !n.ends_with(".staged");
    for name in before.keys().filter(model) {
        assert_eq!(before[name] == after[name], frozen(name), "{name}");
    }
    assert!(!after.contains_key("backbone.bn1.running_mean.staged"));
}

#[test]
fn a_batch_norm_that_is_frozen_in_part_follows_its_weight() {
    let frozen = |name: &str| name == "backbone.layer2.0.bn1.bias" || name == "backbone.layer2.0.bn2.weight";
    let (_, [before, after]) = train(&frozen);
    let kept = |name: &str| before[name] == after[name];
    assert!(kept("backbone.layer2.0.bn1.bias") && !kept("backbone.layer2.0.bn1.weight") && !kept("backbone.layer2.0.bn1.running_var"));
    assert!(kept("backbone.layer2.0.bn2.weight") && !kept("backbone.layer2.0.bn2.bias") && kept("backbone.layer2.0.bn2.running_var"));
}

#[test]
fn gradients_of_the_rest_are_what_they_were() {
    let frozen = frozen_by(&["text_encoder.embeddings.", "text_encoder.encoder.layer.0.", "fusion.head."]);
    let gradients = |frozen: &dyn Fn(&str) -> bool| -> BTreeMap<String, Vec<f64>> {
        let mut run = Run::new(CLASSIFIER, &StepOptions { frozen, ..StepOptions::default() });
        run.write_batch(CLASSIFIER);
        run.control(0, 0);
        run.run(Segment::Run);
        run.gradients().into_iter().collect()
    };
    let (some, all) = (gradients(&frozen), gradients(&|_| false));
    assert_eq!(some.len() + all.keys().filter(|n| frozen(n)).count(), all.len());
    for prefix in ["text_encoder.embeddings.", "text_encoder.encoder.layer.0.", "fusion.head."] {
        assert!(all.keys().any(|n| n.starts_with(prefix)), "{prefix}");
    }
    for (name, gradient) in &some {
        assert!(*gradient == all[name], "{name}");
    }
}

#[test]
fn a_part_that_is_frozen_whole_runs_as_in_inference() {
    let mut config = config();
    (config.text_encoder.hidden_dropout_prob, config.fusion.dropout) = (0.5, 0.5);
    (config.captioner.vision_config.attention_dropout, config.captioner.text_config.hidden_dropout_prob) = (0.5, 0.5);
    // Random parts are those that read the control state; summing gradients and staging statistics have no scope of their own.
    let random = |stage: Stage, frozen: &dyn Fn(&str) -> bool, part: &str| {
        let Step { graph, .. } = build(&config, stage, &StepOptions { frozen, ..StepOptions::default() }).unwrap();
        let control = graph.named("control").unwrap();
        graph.nodes().iter().any(|n| n.scope.starts_with(part) && n.inputs.contains(&control))
    };
    let none = |_: &str| false;
    let text = |n: &str| n.starts_with("text_encoder.");
    assert!(random(CLASSIFIER, &none, "text_encoder") && random(CLASSIFIER, &none, "fusion"));
    assert!(!random(CLASSIFIER, &text, "text_encoder") && random(CLASSIFIER, &text, "fusion"));
    let most_of_text = |n: &str| n.starts_with("text_encoder.encoder.");
    assert!(random(CLASSIFIER, &most_of_text, "text_encoder"));
    let (vision, decoder) = ("captioner.vision_model", "captioner.text_decoder");
    let (tower, words) = (|n: &str| n.starts_with("captioner.vision_model."), |n: &str| n.starts_with("captioner.text_decoder."));
    assert!(random(CAPTIONER, &none, vision) && random(CAPTIONER, &none, decoder));
    assert!(!random(CAPTIONER, &tower, vision) && random(CAPTIONER, &tower, decoder));
    assert!(random(CAPTIONER, &words, vision) && !random(CAPTIONER, &words, decoder));
}

#[test]
fn nothing_to_train_is_an_error() {
    for stage in [CLASSIFIER, CAPTIONER] {
        let error = build(&config(), stage, &StepOptions { frozen: &|_| true, ..StepOptions::default() }).map(drop).unwrap_err().to_string();
        assert!(error.contains("frozen"), "{error}");
    }
}
