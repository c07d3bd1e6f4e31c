//! A training step of the default golden model, bound to a store: what all tests of this folder run.

use escnet::graph::{Options, Segment, Session, StateKind, Store, fuse, lower_precision};
use escnet::model::EscnetConfig;
use escnet::model::escnet::Trained;
use escnet::model::layers::CONTROL;
use escnet::ops::rules;
use escnet::train::{DENOMINATOR, IGNORED, INITIAL_LOSS_SCALE, LEARNING_RATE, LOSS_SCALE, Stage, Step, StepOptions, build};
use escnet::weights::layout::from_file;
use escnet::weights::{Source, WeightFile, load, manifest, weight_source};
use escnet::{DType, Device, Tensor};
use std::path::{Path, PathBuf};

/// All of the classifier on the golden batch.
pub const CLASSIFIER: Stage = Stage::Classify { batch: 4, words: 12, trained: Trained::ALL };
/// The captioner on the golden batch.
pub const CAPTIONER: Stage = Stage::Caption { batch: 4, length: 11 };

pub fn config() -> EscnetConfig {
    EscnetConfig::open(folder()).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/default")
}

pub struct Run {
    pub step: Step,
    pub store: Store,
    pub session: Session,
    golden: WeightFile,
}

impl Run {
    /// The step in f32, on two threads, with a learning rate of 1e-3 for every group.
    pub fn new(stage: Stage, options: &StepOptions) -> Self {
        Self::with(stage, options, DType::F32, 2)
    }

    pub fn with(stage: Stage, options: &StepOptions, dtype: DType, threads: usize) -> Self {
        let config = config();
        let weights = load(&manifest(&config).unwrap(), &[Source::whole(folder())]).unwrap();
        let mut store = Store::with_source(&Device::cpu(threads).unwrap(), weight_source(weights));
        let step = build(&config, stage, options).unwrap();
        let graph = lower_precision(&step.graph, &rules(), dtype).unwrap();
        let session = Session::new(fuse(graph, &rules()).unwrap(), &mut store, Options::default()).unwrap();
        store.write(LEARNING_RATE, &Tensor::from_f32([options.groups], vec![1e-3; options.groups]).unwrap()).unwrap();
        if options.loss_scale {
            store.write(LOSS_SCALE, &Tensor::from_f32([1], vec![INITIAL_LOSS_SCALE]).unwrap()).unwrap();
        }
        Run { step, store, session, golden: WeightFile::open(folder().join("golden.safetensors")).unwrap() }
    }

    /// Writes rows `from .. from + batch` of a golden input.
    pub fn write(&mut self, input: &str, golden: &str, from: usize, batch: usize) {
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

    pub fn write_classifier(&mut self, from: usize, batch: usize) {
        for name in ["image", "caption_ids", "caption_mask", "labels"] {
            self.write(name, &format!("in.{name}"), from, batch);
        }
    }

    pub fn write_captioner(&mut self, from: usize, batch: usize) -> usize {
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

    /// Puts zeros in place of all inputs.
    pub fn overwrite_inputs(&mut self) {
        let inputs: Vec<_> = self.session.graph().inputs().map(|(_, info)| (info.name.clone(), info.ty)).collect();
        for (name, ty) in inputs {
            let zeros =
                if ty.dtype.is_float() { Tensor::from_f32(ty.shape, vec![0.0; ty.len()]) } else { Tensor::from_i32(ty.shape, vec![0; ty.len()]) };
            self.session.write(&name, &zeros.unwrap()).unwrap();
        }
    }

    pub fn control(&mut self, step: i32, micro_step: i32) {
        self.store.write(CONTROL, &Tensor::from_i32([4], vec![7, 0, step, micro_step]).unwrap()).unwrap();
    }

    pub fn denominator(&mut self, n: usize) {
        self.store.write(DENOMINATOR, &Tensor::scalar(n as f32)).unwrap();
    }

    pub fn run(&mut self, segment: Segment) {
        self.session.run(&mut self.store, segment).unwrap();
    }

    pub fn gradients(&mut self) -> Vec<(String, Vec<f64>)> {
        let names = self.step.parameters.clone();
        names.into_iter().map(|n| (n.clone(), self.store.read_f64(&Step::gradient(&n)).unwrap())).collect()
    }

    /// One whole step of one micro-step on what was written last; gives the loss before it.
    pub fn step(&mut self, number: i32) -> f32 {
        self.control(number, 0);
        self.run(Segment::Run);
        self.run(Segment::Apply);
        self.number("loss")
    }

    /// The golden batch of a stage, and its denominator.
    pub fn write_batch(&mut self, stage: Stage) {
        let counted = match stage {
            Stage::Caption { .. } => self.write_captioner(0, 4),
            Stage::Classify { .. } => {
                self.write_classifier(0, 4);
                4
            }
        };
        self.denominator(counted);
    }

    /// A result of one number.
    pub fn number(&mut self, output: &str) -> f32 {
        self.session.read(output, &mut self.store).unwrap().to_f32()[0]
    }

    /// Whether the step was applied.
    pub fn finite(&mut self) -> bool {
        self.session.read("finite", &mut self.store).unwrap().as_i32() == Some(&[1][..])
    }

    /// A state of one integer.
    pub fn count(&mut self, state: &str) -> i32 {
        self.store.read(state).unwrap().as_i32().unwrap()[0]
    }

    /// State as f64.
    pub fn state(&mut self, name: &str) -> Vec<f64> {
        self.store.read_f64(name).unwrap()
    }

    /// Puts a NaN into the classifier's picture.
    pub fn poison(&mut self) {
        let mut poisoned = vec![0.5; 4 * 96 * 96 * 3];
        poisoned[1000] = f32::NAN;
        self.session.write("image", &Tensor::from_f32([4, 96, 96, 3], poisoned).unwrap()).unwrap();
    }

    /// All state but what is computed from it, to the bit.
    pub fn bits(&mut self) -> Vec<(String, Vec<u64>)> {
        let names: Vec<String> = self.store.entries().filter(|(.., kind)| *kind != StateKind::Derived).map(|(n, ..)| n.to_owned()).collect();
        let bits = |v: Vec<f64>| v.into_iter().map(f64::to_bits).collect();
        names.into_iter().map(|n| (n.clone(), bits(self.store.read_f64(&n).unwrap()))).collect()
    }
}
