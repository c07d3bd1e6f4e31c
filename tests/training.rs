//! The training step: micro-steps add up to a batch, a step that is not finite changes nothing, repeats are equal bit for bit.

use escnet::graph::{Options, Segment, Session, Store, fuse};
use escnet::model::EscnetConfig;
use escnet::model::escnet::Trained;
use escnet::model::layers::CONTROL;
use escnet::ops::rules;
use escnet::train::{DENOMINATOR, IGNORED, LEARNING_RATE, STEP, Stage, Step, StepOptions, build};
use escnet::weights::layout::from_file;
use escnet::weights::{Source, WeightFile, load, manifest, weight_source};
use escnet::{Device, Tensor};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/default")
}

struct Run {
    step: Step,
    store: Store,
    session: Session,
    golden: WeightFile,
}

impl Run {
    fn new(stage: Stage, threads: usize) -> Self {
        let config = EscnetConfig::open(folder()).unwrap();
        let weights = load(&manifest(&config).unwrap(), &[Source::whole(folder())]).unwrap();
        let mut store = Store::with_source(&Device::cpu(threads).unwrap(), weight_source(weights));
        let step = build(&config, stage, &StepOptions::default()).unwrap();
        let session = Session::new(fuse(step.graph.clone(), &rules()).unwrap(), &mut store, Options::default()).unwrap();
        store.write(LEARNING_RATE, &Tensor::from_f32([1], vec![1e-3]).unwrap()).unwrap();
        Run { step, store, session, golden: WeightFile::open(folder().join("golden.safetensors")).unwrap() }
    }

    /// Writes rows `from .. from + batch` of a golden input.
    fn write(&mut self, input: &str, golden: &str, from: usize, batch: usize) {
        let whole = from_file(self.golden.tensor(golden).unwrap().read().unwrap()).unwrap();
        let mut shape = whole.shape().to_vec();
        let row = whole.shape().len() / shape[0];
        shape[0] = batch;
        let shape = escnet::Shape::new(&shape).unwrap();
        let part = match whole.as_i32() {
            Some(v) => Tensor::from_i32(shape, v[from * row..][..batch * row].to_vec()),
            None => Tensor::from_f32(shape, whole.to_f32()[from * row..][..batch * row].to_vec()),
        };
        self.session.write(input, &part.unwrap()).unwrap();
    }

    fn write_classifier(&mut self, from: usize, batch: usize) {
        for name in ["image", "caption_ids", "caption_mask", "labels"] {
            self.write(name, &format!("in.{name}"), from, batch);
        }
    }

    fn write_captioner(&mut self, from: usize, batch: usize) -> usize {
        self.write("caption_image", "in.caption_image", from, batch);
        let mut counted = 0;
        for (input, golden, skip) in [("lm_ids", "in.lm_ids", 0), ("lm_mask", "in.caption_mask", 0), ("lm_labels", "in.lm_labels", 1)] {
            let whole = self.golden.tensor(golden).unwrap().read().unwrap();
            let width = whole.shape()[1];
            let rows = whole.as_i32().unwrap()[from * width..][..batch * width].chunks(width);
            let ids: Vec<i32> = rows.flat_map(|r| r[skip..skip + width - 1].to_vec()).collect();
            if input == "lm_labels" {
                counted = ids.iter().filter(|&&id| id != IGNORED).count();
                self.session.write(input, &Tensor::from_i32([ids.len()], ids).unwrap()).unwrap();
            } else {
                self.session.write(input, &Tensor::from_i32([batch, width - 1], ids).unwrap()).unwrap();
            }
        }
        counted
    }

    fn control(&mut self, step: i32, micro_step: i32) {
        self.store.write(CONTROL, &Tensor::from_i32([4], vec![7, 0, step, micro_step]).unwrap()).unwrap();
    }

    fn denominator(&mut self, n: usize) {
        self.store.write(DENOMINATOR, &Tensor::scalar(n as f32)).unwrap();
    }

    fn run(&mut self, segment: Segment) {
        self.session.run(&mut self.store, segment).unwrap();
    }

    fn gradients(&mut self) -> Vec<(String, Vec<f64>)> {
        let names = self.step.parameters.clone();
        names.into_iter().map(|n| (n.clone(), self.store.read_f64(&Step::gradient(&n)).unwrap())).collect()
    }

    fn weights(&mut self) -> Vec<(String, Vec<u64>)> {
        let names: Vec<String> = self.store.entries().map(|(n, ..)| n.to_owned()).collect();
        let bits = |v: Vec<f64>| v.into_iter().map(f64::to_bits).collect();
        names.into_iter().map(|n| (n.clone(), bits(self.store.read_f64(&n).unwrap()))).collect()
    }
}

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
    let mut whole = Run::new(Stage::Caption { batch: 4, length }, 2);
    let counted = whole.write_captioner(0, 4);
    whole.denominator(counted);
    whole.control(0, 0);
    whole.run(Segment::Run);

    let mut parts = Run::new(Stage::Caption { batch: 1, length }, 2);
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
    let mut whole = Run::new(Stage::Classify { batch: 4, words: 12, trained }, 2);
    whole.write_classifier(0, 4);
    whole.denominator(4);
    whole.control(0, 0);
    whole.run(Segment::Run);

    let mut parts = Run::new(Stage::Classify { batch: 2, words: 12, trained }, 2);
    parts.denominator(4);
    for i in 0..2 {
        parts.write_classifier(2 * i, 2);
        parts.control(0, i as i32);
        parts.run(Segment::Run);
    }
    assert!(whole.step.parameters.iter().all(|n| !n.starts_with("backbone.")));
    same(&whole.gradients(), &parts.gradients());
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let mut run = Run::new(Stage::Classify { batch: 4, words: 12, trained: Trained::ALL }, 2);
    run.write_classifier(0, 4);
    run.denominator(4);
    run.control(0, 0);
    run.run(Segment::Run);
    run.run(Segment::Apply);
    assert_eq!(run.session.read("finite", &mut run.store).unwrap().as_i32(), Some(&[1][..]));
    let owned = |all: Vec<(String, Vec<u64>)>| -> Vec<_> {
        all.into_iter().filter(|(n, _)| !n.starts_with("grad.") && !n.ends_with(".staged") && n != CONTROL).collect()
    };
    let before = owned(run.weights());
    let mut poisoned = vec![0.5; 4 * 96 * 96 * 3];
    poisoned[1000] = f32::NAN;
    run.session.write("image", &Tensor::from_f32([4, 96, 96, 3], poisoned).unwrap()).unwrap();
    run.control(1, 0);
    run.run(Segment::Run);
    run.run(Segment::Apply);
    assert_eq!(run.session.read("finite", &mut run.store).unwrap().as_i32(), Some(&[0][..]));
    assert!(owned(run.weights()) == before, "parameters, statistics, moments or the step count changed");
    run.write_classifier(0, 4);
    run.run(Segment::Run);
    run.run(Segment::Apply);
    assert_eq!(run.store.read(STEP).unwrap().as_i32(), Some(&[2][..]));
    assert!(owned(run.weights()) != before);
}

#[test]
fn steps_repeat_bit_for_bit_on_any_number_of_threads() {
    let train = |threads: usize| {
        let mut run = Run::new(Stage::Classify { batch: 4, words: 12, trained: Trained::ALL }, threads);
        run.write_classifier(0, 4);
        run.denominator(4);
        for step in 0..3 {
            run.control(step, 0);
            run.run(Segment::Run);
            run.run(Segment::Apply);
        }
        run.weights()
    };
    let once = train(1);
    assert!(once == train(1), "on repeat");
    assert!(once == train(3), "on three threads");
}
