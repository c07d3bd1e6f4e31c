//! Learning is right, not only running: two hundred steps of both stages beside PyTorch's (`tools/peers/train_twin.py`) on the same
//! pictures in the same order, from the same weights, at the same learning rates.
//!
//! The yardstick of a step is four times the farthest that PyTorch's own curves were apart up to there: float64 and float32, one thread
//! and two, channels first and last, with and without oneDNN, a batch's pictures in either order. (Up to there, since curves that part may
//! cross again.)

#[cfg(feature = "wgpu")]
mod common;

use escnet::graph::{Options, Segment, Session, Store, fuse, lower_precision};
use escnet::model::EscnetConfig;
use escnet::model::escnet::Trained;
use escnet::model::layers::CONTROL;
use escnet::ops::rules;
use escnet::train::{DENOMINATOR, IGNORED, LEARNING_RATE, Optimizer, Stage, StepOptions, build};
use escnet::weights::{Source, WeightFile, load, manifest, weight_source};
use escnet::{DType, Device, Tensor};
use libtest_mimic::{Arguments, Trial};
use std::path::{Path, PathBuf};

const STEPS: usize = 200;
const STAGES: [&str; 2] = ["caption", "classify"];
const EXACT: &str = "float64";

fn main() {
    let mut trials = vec![
        trial("curves_are_equal_on_any_number_of_threads", curves_are_equal_on_any_number_of_threads),
        trial("faults_are_seen", faults_are_seen),
    ];
    #[cfg(feature = "wgpu")]
    let [no_gpu, ..] = common::missing();
    for (stage, learner) in STAGES.into_iter().zip(["captioner", "classifier"]) {
        trials.push(trial(format!("{learner}_learns_as_in_pytorch"), move || judge("f32", stage, "float32", &curve(stage, &recipe(stage)))));
        let half = move || judge("bf16", stage, "bfloat16", &curve(stage, &Recipe { dtype: DType::BF16, ..recipe(stage) }));
        trials.push(trial(format!("{learner}_learns_in_half_precision"), half));
        #[cfg(feature = "wgpu")]
        trials.push(trial(format!("wgpu::{learner}_learns_as_in_pytorch"), move || follows_on_a_gpu(stage)).with_ignored_flag(no_gpu));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// One that fails by a panic.
fn trial(name: impl Into<String>, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/learning")
}

/// What PyTorch saw: `curves.json`.
struct Peer(serde_json::Value);

impl Peer {
    fn open() -> Self {
        Peer(serde_json::from_str(&std::fs::read_to_string(folder().join("curves.json")).unwrap()).unwrap())
    }

    fn optimizer(&self, key: &str) -> f64 {
        self.0["optim"].pointer(key).and_then(serde_json::Value::as_f64).unwrap()
    }

    fn curve(&self, stage: &str, way: &str) -> Vec<f64> {
        let losses = self.0[stage][way].as_array().unwrap();
        losses.iter().map(|x| x.as_f64().unwrap()).collect()
    }

    /// Four times the running spread of the float64 curve and those whose names start so.
    fn yardstick(&self, stage: &str, prefix: &str) -> Vec<f64> {
        let ways = self.0[stage].as_object().unwrap().keys().filter(|way| *way == EXACT || way.starts_with(prefix));
        let curves: Vec<Vec<f64>> = ways.map(|way| self.curve(stage, way)).collect();
        assert!(curves.len() >= 3 && curves.iter().all(|c| c.len() == STEPS));
        let spread = |step: usize| {
            let at = || curves.iter().map(|c| c[step]);
            at().fold(f64::MIN, f64::max) - at().fold(f64::MAX, f64::min)
        };
        let so_far = |most: &mut f64, step: usize| {
            *most = most.max(spread(step));
            Some(4.0 * *most)
        };
        (0..STEPS).scan(0.0, so_far).collect()
    }
}

/// How the steps are taken; a fault is a change of these.
struct Recipe<'a> {
    config: EscnetConfig,
    options: StepOptions<'a>,
    rates: Vec<f32>,
    dtype: DType,
    device: Device,
    steps: usize,
}

fn recipe(stage: &str) -> Recipe<'static> {
    let peer = Peer::open();
    let optimizer = Optimizer::AdamW { betas: [peer.optimizer("/betas/0"), peer.optimizer("/betas/1")], eps: peer.optimizer("/eps") };
    let (weight_decay, clip_norm) = (peer.optimizer("/weight_decay"), Some(peer.optimizer("/clip_norm")));
    Recipe {
        config: EscnetConfig::open(folder()).unwrap(),
        options: StepOptions { optimizer, weight_decay, clip_norm, ..StepOptions::default() },
        rates: table(&format!("rate.{stage}")).to_f32(),
        dtype: DType::F32,
        device: Device::cpu(2).unwrap(),
        steps: STEPS,
    }
}

fn table(name: &str) -> Tensor {
    WeightFile::open(folder().join("data.safetensors")).unwrap().tensor(name).unwrap().read().unwrap()
}

/// Rows of a table, each for each picture, one after another.
fn rows<T: Copy>(table: &[T], pictures: &[i32], width: usize) -> Vec<T> {
    pictures.iter().flat_map(|&p| table[p as usize * width..][..width].iter().copied()).collect()
}

/// The loss of each step.
fn curve(stage: &str, recipe: &Recipe<'_>) -> Vec<f64> {
    let Recipe { config, options, rates, dtype, device, steps } = recipe;
    let (order, pictures, labels) = (table("order"), table("pictures"), table("label"));
    let tokens = table(if stage == "caption" { "lm_ids" } else { "words" });
    let (batch, words, side) = (order.shape()[1], tokens.shape()[1], config.image_size);
    let form = match stage {
        "caption" => Stage::Caption { batch, length: words - 1 },
        _ => Stage::Classify { batch, words, trained: Trained::ALL },
    };
    let graph = lower_precision(&build(config, form, options).unwrap().graph, &rules(), *dtype).unwrap();
    let weights = load(&manifest(config).unwrap(), &[Source::whole(folder())]).unwrap();
    let mut store = Store::with_source(device, weight_source(weights));
    let mut session = Session::new(fuse(graph, &rules()).unwrap(), &mut store, Options::default()).unwrap();
    let (order, tokens, labels) = (order.as_i32().unwrap(), tokens.as_i32().unwrap(), labels.as_i32().unwrap());
    let pictures: Vec<f32> = pictures.as_i32().unwrap().iter().map(|&x| x as f32 / 127.5 - 1.0).collect();

    let step = |(step, chosen): (usize, &[i32])| {
        let mut ints = |name: &str, values: Vec<i32>, width: usize| {
            let tensor = Tensor::from_i32([values.len()], values).unwrap();
            let tensor = if width > 0 { tensor.reshape([batch, width]).unwrap() } else { tensor };
            session.write(name, &tensor).unwrap();
        };
        let ids = rows(tokens, chosen, words);
        let present = |id: &i32| i32::from(*id != 0);
        let counted = if stage == "caption" {
            // The last token predicts nothing, and labels are the ids one to the left.
            let part = |from: usize| -> Vec<i32> { ids.chunks(words).flat_map(|row| row[from..][..words - 1].to_vec()).collect() };
            let next: Vec<i32> = part(1).into_iter().map(|id| if id == 0 { IGNORED } else { id }).collect();
            let counted = next.iter().filter(|&&id| id != IGNORED).count();
            ints("lm_ids", part(0), words - 1);
            ints("lm_mask", part(0).iter().map(present).collect(), words - 1);
            ints("lm_labels", next, 0);
            counted
        } else {
            ints("caption_mask", ids.iter().map(present).collect(), words);
            ints("caption_ids", ids, words);
            ints("labels", rows(labels, chosen, 1), 0);
            batch
        };
        let image = Tensor::from_f32([batch, side, side, 3], rows(&pictures, chosen, side * side * 3)).unwrap();
        session.write(if stage == "caption" { "caption_image" } else { "image" }, &image).unwrap();
        store.write(DENOMINATOR, &Tensor::scalar(counted as f32)).unwrap();
        store.write(LEARNING_RATE, &Tensor::from_f32([1], vec![rates[step]]).unwrap()).unwrap();
        store.write(CONTROL, &Tensor::from_i32([4], vec![0, 0, step as i32, 0]).unwrap()).unwrap();
        session.run(&mut store, Segment::Run).unwrap();
        session.run(&mut store, Segment::Apply).unwrap();
        f64::from(session.read("loss", &mut store).unwrap().to_f32()[0])
    };
    order.chunks(batch).enumerate().take(*steps).map(step).collect()
}

/// The first step that is out.
fn first_out(ours: &[f64], exact: &[f64], yardstick: &[f64]) -> Option<usize> {
    // What is not a number is out, too.
    (0..ours.len()).find(|&t| (ours[t] - exact[t]).is_nan() || (ours[t] - exact[t]).abs() > yardstick[t])
}

/// Checks that a curve, or its beginning, stays as near to PyTorch's as those to each other.
fn follows(stage: &str, prefix: &str, ours: &[f64]) {
    let peer = Peer::open();
    let (exact, yardstick) = (peer.curve(stage, EXACT), peer.yardstick(stage, prefix));
    if let Some(t) = first_out(ours, &exact, &yardstick) {
        panic!("{stage}, step {t}: {} against {}, {:e} apart where {:e} are allowed", ours[t], exact[t], (ours[t] - exact[t]).abs(), yardstick[t]);
    }
}

/// Checks a curve; where `LEARNING_CURVES` names a folder, leaves it there for `tools/peers/plot_learning.py`.
fn judge(name: &str, stage: &str, prefix: &str, ours: &[f64]) {
    if let Some(folder) = std::env::var_os("LEARNING_CURVES") {
        std::fs::write(Path::new(&folder).join(format!("{name}.{stage}.json")), serde_json::to_string(ours).unwrap()).unwrap();
    }
    follows(stage, prefix, ours);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&ours[..20]), mean(&ours[STEPS - 20..]));
    assert!(last < 0.4 * first, "{stage} did not learn: {first} fell to {last}");
}

/// The first hundred steps on a GPU.
#[cfg(feature = "wgpu")]
fn follows_on_a_gpu(stage: &str) {
    follows(stage, "float32", &curve(stage, &Recipe { device: common::gpu().unwrap(), steps: 100, ..recipe(stage) }));
}

fn curves_are_equal_on_any_number_of_threads() {
    for stage in STAGES {
        let on = |threads: usize| curve(stage, &Recipe { device: Device::cpu(threads).unwrap(), steps: 30, ..recipe(stage) });
        assert!(on(1) == on(2), "{stage}");
    }
}

/// What a reader might get wrong, each in a run of its own.
fn faults_are_seen() {
    let peer = Peer::open();
    for stage in STAGES {
        let (exact, yardstick) = (peer.curve(stage, EXACT), peer.yardstick(stage, "float32"));
        let seen = |fault: &str, change: &dyn Fn(&mut Recipe<'_>)| {
            let mut recipe = Recipe { steps: 12, ..recipe(stage) };
            change(&mut recipe);
            assert!(first_out(&curve(stage, &recipe), &exact, &yardstick).is_some(), "{stage}: {fault} went unseen");
        };
        let Optimizer::AdamW { betas: [beta1, beta2], eps } = recipe(stage).options.optimizer else { panic!("not AdamW") };
        let adamw = |betas, eps| Optimizer::AdamW { betas, eps };
        seen("another beta1", &|r| r.options.optimizer = adamw([0.89, beta2], eps));
        seen("another beta2", &|r| r.options.optimizer = adamw([beta1, 0.999], eps));
        seen("another eps", &|r| r.options.optimizer = adamw([beta1, beta2], 1e-6));
        seen("no decay", &|r| r.options.weight_decay = 0.0);
        seen("decay of biases and norms", &|r| r.options.decayed = &|_, _| true);
        seen("no clipping", &|r| r.options.clip_norm = None);
        seen("rates a step late", &|r| r.rates.insert(0, 0.0));
        seen("no label smoothing, or some", &|r| {
            let text = &mut r.config.captioner.text_config.label_smoothing;
            *text = 0.1 - *text;
            r.config.loss.label_smoothing = 0.1;
        });
        seen("another weight of hard pictures, or another layer norm", &|r| {
            r.config.loss.gamma = 2.0;
            r.config.captioner.vision_config.layer_norm_eps = 1e-12;
        });
    }
}
