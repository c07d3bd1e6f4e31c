//! The engine: a loaded model that classifies and captions pictures.

use super::generate::{Captioner, Generation};
use super::handoff::{hand_off, spoken};
use super::model::Model;
use super::search::Hypothesis;
use crate::data::image::Image;
use crate::data::lexicon::Lexicon;
use crate::data::preprocess::{Crop, Preprocess};
use crate::data::tokenizer::Tokenizer;
use crate::device::Device;
use crate::device::now::now;
use crate::error::{Error, Result};
use crate::graph::{Builder, NodeTime, Options, Segment, Session, Store, prepare};
use crate::model::config::{EscnetConfig, Highlight};
use crate::model::escnet::classifier;
use crate::ops::rules;
use crate::ops::softmax::softmax;
use crate::tensor::{DType, Tensor};
use crate::weights::weight_source;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How a model is loaded and run.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    /// What [`Device::parse`] understands.
    pub device: String,
    /// Computes in this type; weights stay as they are.
    pub dtype: DType,
    /// CPU threads; 0: one a core.
    pub threads: usize,
    /// The most pictures that run at once.
    pub batch: usize,
    /// How captions are made. The prompt here is token ids; [`EngineOptions::prompt`] is put before it.
    pub generation: Generation,
    /// Words that every caption starts with.
    pub prompt: String,
    /// Adds up what each node takes, for [`Engine::times`].
    pub timed: bool,
    /// The folder for [`Device::keep_pipelines`], if any.
    pub cache: Option<PathBuf>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        let generation = Generation::default();
        let (device, prompt) = ("auto".to_owned(), String::new());
        EngineOptions { device, dtype: DType::F32, threads: 0, batch: 1, generation, prompt, timed: false, cache: None }
    }
}

/// A caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// The words, special tokens left out.
    pub text: String,
    /// The captioner's token ids, start and end tokens included.
    pub ids: Vec<i32>,
    /// sum log p / tokens after the prompt.
    pub score: f32,
}

/// How strongly a word of the caption is highlighted.
#[derive(Debug, Clone, PartialEq)]
pub struct WordGate {
    /// The word, its pieces joined.
    pub word: String,
    /// 0 to 1: the largest of its pieces.
    pub gate: f32,
    /// Where it looks: one weight a grid cell, row-major, summing to 1.
    pub attention: Vec<f32>,
}

/// One class and its probability.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The emotion.
    pub class: String,
    /// 0 to 1.
    pub probability: f32,
}

/// What the model says of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// Every class, the most probable first.
    pub predictions: Vec<Prediction>,
    /// What the captioner said.
    pub caption: Caption,
    /// The caption's words with their gates; empty for a model without a highlight.
    pub words: Vec<WordGate>,
    /// Grid cells along one side.
    pub grid: usize,
    /// Which part of the picture the grid covers.
    pub crop: Crop,
}

/// Pictures that the device was told to classify: what the results are to be put together with.
struct Begun {
    captions: Vec<Caption>,
    /// The captions as the text encoder reads them.
    words: Vec<Vec<i32>>,
    crops: Vec<Crop>,
}

/// A loaded model. Sessions for each number of pictures are built when they are first needed and share its weights.
pub struct Engine {
    config: EscnetConfig,
    options: EngineOptions,
    tokenizer: Tokenizer,
    lexicon: Option<Lexicon>,
    classify_input: Preprocess,
    caption_input: Preprocess,
    store: Store,
    captioners: BTreeMap<usize, Captioner>,
    classifiers: BTreeMap<usize, Session>,
    /// Pictures captioned so far.
    captioned: usize,
    notes: Vec<String>,
}

impl Engine {
    /// Loads a model folder: `config.json`, `model.safetensors`, `vocab.txt`, and `preprocessor.json` and `lexicon.tsv` where there are any.
    ///
    /// # Errors
    /// Those of the files' readers; [`Error::Device`]; [`Error::Argument`] for options that do not fit the model.
    pub fn load(dir: &Path, options: EngineOptions) -> Result<Self> {
        let device = Device::parse(&options.device, options.threads, options.dtype)?;
        options.cache.iter().for_each(|folder| device.keep_pipelines(folder));
        Ok(Self::new(Model::open(dir)?, &device, options))
    }

    /// Puts a model on a device that is open; [`EngineOptions::device`] is not looked at.
    pub fn new(model: Model, device: &Device, mut options: EngineOptions) -> Self {
        let Model { config, tokenizer, weights, lexicon, classify_input, caption_input } = model;
        let notes = weights.notes().to_vec();
        let longest = config.captioner.text_config.max_position_embeddings.min(config.text_encoder.max_position_embeddings);
        options.generation.max_length = options.generation.max_length.min(longest);
        options.batch = options.batch.max(1);
        let mut prompt: Vec<i32> = tokenizer.encode(&options.prompt, None);
        prompt.retain(|&id| id != tokenizer.cls() && id != tokenizer.sep());
        prompt.append(&mut options.generation.prompt);
        options.generation.prompt = prompt;
        Engine {
            store: Store::with_source(device, weight_source(weights)),
            config,
            options,
            tokenizer,
            lexicon,
            classify_input,
            caption_input,
            captioners: BTreeMap::new(),
            classifiers: BTreeMap::new(),
            captioned: 0,
            notes,
        }
    }

    /// The model's configuration.
    pub fn config(&self) -> &EscnetConfig {
        &self.config
    }

    /// The model's affect words, where it has a lexicon.
    pub fn lexicon(&self) -> Option<&Lexicon> {
        self.lexicon.as_ref()
    }

    /// What the weight files held that was left aside.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The device that runs the model.
    pub fn device(&self) -> &Device {
        self.store.device()
    }

    /// Classifies one picture.
    ///
    /// # Errors
    /// Those of the sessions; none that depend on what the picture shows.
    pub fn classify(&mut self, picture: &Image) -> Result<Classification> {
        now(self.classify_async(picture))
    }

    /// The same; on a browser's GPU the functions that end so are the only ones.
    ///
    /// # Errors
    /// As [`Engine::classify`].
    pub async fn classify_async(&mut self, picture: &Image) -> Result<Classification> {
        let mut all = self.classify_all_async(std::slice::from_ref(picture)).await?;
        all.pop().ok_or_else(|| Error::graph("classify", "a result", "none"))
    }

    /// Classifies any number of pictures, [`EngineOptions::batch`] at a time.
    ///
    /// # Errors
    /// As [`Engine::classify`].
    pub fn classify_all(&mut self, pictures: &[Image]) -> Result<Vec<Classification>> {
        now(self.classify_all_async(pictures))
    }

    /// The same, to be awaited.
    ///
    /// # Errors
    /// As [`Engine::classify`].
    pub async fn classify_all_async(&mut self, pictures: &[Image]) -> Result<Vec<Classification>> {
        let mut all = Vec::with_capacity(pictures.len());
        let mut begun: Option<Begun> = None;
        for chunk in pictures.chunks(self.options.batch) {
            // While a GPU classifies the ones before.
            let [to_caption, to_classify] = [self.caption_input.batch(chunk)?, self.classify_input.batch(chunk)?];
            if let Some(begun) = begun.take() {
                all.extend(self.classified(begun).await?);
            }
            let captions = self.caption_chunk(&to_caption).await?;
            begun = Some(self.begin(chunk, &to_classify, captions)?);
        }
        if let Some(begun) = begun {
            all.extend(self.classified(begun).await?);
        }
        Ok(all)
    }

    /// Classifies pictures that this model's captioner has captioned before.
    ///
    /// # Errors
    /// [`Error::Argument`] where there is not one caption a picture; as [`Engine::classify`].
    pub fn classify_captioned(&mut self, pictures: &[Image], captions: &[Caption]) -> Result<Vec<Classification>> {
        now(self.classify_captioned_async(pictures, captions))
    }

    /// The same, to be awaited.
    ///
    /// # Errors
    /// As [`Engine::classify_captioned`].
    pub async fn classify_captioned_async(&mut self, pictures: &[Image], captions: &[Caption]) -> Result<Vec<Classification>> {
        if pictures.len() != captions.len() {
            let (expected, got) = (format!("one for each of {} pictures", pictures.len()), captions.len().to_string());
            return Err(Error::Argument { name: "captions", expected, got });
        }
        let mut all = Vec::with_capacity(pictures.len());
        for (chunk, captions) in pictures.chunks(self.options.batch).zip(captions.chunks(self.options.batch)) {
            let image = self.classify_input.batch(chunk)?;
            let begun = self.begin(chunk, &image, captions.to_vec())?;
            all.extend(self.classified(begun).await?);
        }
        Ok(all)
    }

    /// Captions any number of pictures, [`EngineOptions::batch`] at a time.
    ///
    /// # Errors
    /// As [`Engine::classify`].
    pub fn caption_all(&mut self, pictures: &[Image]) -> Result<Vec<Caption>> {
        now(self.caption_all_async(pictures))
    }

    /// The same, to be awaited.
    ///
    /// # Errors
    /// As [`Engine::classify`].
    pub async fn caption_all_async(&mut self, pictures: &[Image]) -> Result<Vec<Caption>> {
        let mut all = Vec::with_capacity(pictures.len());
        for chunk in pictures.chunks(self.options.batch) {
            let image = self.caption_input.batch(chunk)?;
            all.extend(self.caption_chunk(&image).await?);
        }
        Ok(all)
    }

    /// What each node took since this was last asked, where [`EngineOptions::timed`] is set: session by session, the parts of the model in
    /// the order in which they run.
    ///
    /// # Errors
    /// As [`Session::times`].
    pub fn times(&mut self) -> Result<Vec<NodeTime>> {
        now(self.times_async())
    }

    /// The same, to be awaited.
    ///
    /// # Errors
    /// As [`Session::times_async`].
    pub async fn times_async(&mut self) -> Result<Vec<NodeTime>> {
        let mut all = Vec::new();
        for captioner in self.captioners.values_mut() {
            all.extend(captioner.times().await?.concat());
        }
        for classifier in self.classifiers.values_mut() {
            all.extend(classifier.times_async().await?);
        }
        Ok(all)
    }

    /// Captions pictures that are prepared for the captioner.
    async fn caption_chunk(&mut self, image: &Tensor) -> Result<Vec<Caption>> {
        let n = image.shape()[0];
        if !self.captioners.contains_key(&n) {
            let options = &self.options;
            let captioner = Captioner::new(&self.config.captioner, n, options.generation.clone(), options.dtype, self.running(), &mut self.store)?;
            self.captioners.insert(n, captioner);
        }
        let captioner = self.captioners.get_mut(&n).ok_or_else(|| Error::graph("captioner", "a session", "none"))?;
        let hypotheses = captioner.caption_async(image, self.captioned, &mut self.store).await?;
        self.captioned += n;
        let told =
            |h: Hypothesis| Caption { text: self.tokenizer.decode(&spoken(&self.config, &self.tokenizer, &h.ids), true), ids: h.ids, score: h.score };
        Ok(hypotheses.into_iter().map(told).collect())
    }

    /// Lets the device classify pictures, which are prepared for that in `image`, and does not wait for it.
    fn begin(&mut self, pictures: &[Image], image: &Tensor, captions: Vec<Caption>) -> Result<Begun> {
        let (n, length) = (pictures.len(), self.options.generation.max_length);
        if !self.classifiers.contains_key(&n) {
            let session = self.classifier_session(n, length)?;
            self.classifiers.insert(n, session);
        }
        let words: Vec<Vec<i32>> = captions.iter().map(|c| hand_off(&self.config, &self.tokenizer, &c.ids)).collect();
        let pad = self.config.text_encoder.pad_token_id as i32;
        let padded = |row: &Vec<i32>, fill: i32| -> Vec<i32> { row.iter().copied().chain(std::iter::repeat(fill)).take(length).collect() };
        let ids: Vec<i32> = words.iter().flat_map(|w| padded(w, pad)).collect();
        let mask: Vec<i32> = words.iter().flat_map(|w| padded(&vec![1; w.len()], 0)).collect();
        let session = self.classifiers.get_mut(&n).ok_or_else(|| Error::graph("classifier", "a session", "none"))?;
        session.write("image", image)?;
        session.write("caption_ids", &Tensor::from_i32([n, length], ids)?)?;
        session.write("caption_mask", &Tensor::from_i32([n, length], mask)?)?;
        if let (Highlight::Lexicon, Some(lexicon)) = (self.config.fusion.highlight, &self.lexicon) {
            let strengths = words.iter().flat_map(|w| {
                let strengths = lexicon.strengths(&self.tokenizer, w);
                strengths.into_iter().chain(std::iter::repeat(0.0)).take(length).collect::<Vec<f32>>()
            });
            session.write("word_affect", &Tensor::from_f32([n, length], strengths.collect())?)?;
        }
        session.run(&mut self.store, Segment::Run)?;
        let crops = pictures.iter().map(|picture| self.classify_input.crop(picture)).collect();
        Ok(Begun { captions, words, crops })
    }

    /// What was begun last, once the device is done.
    async fn classified(&self, Begun { captions, words, crops }: Begun) -> Result<Vec<Classification>> {
        let (n, length) = (captions.len(), self.options.generation.max_length);
        let session = self.classifiers.get(&n).ok_or_else(|| Error::graph("classifier", "a session", "none"))?;
        let probabilities = session.read_async("probs", &self.store).await?.to_f32();
        let highlighted = self.config.fusion.highlight != Highlight::None;
        let (gates, attention) = if highlighted {
            (session.read_async("gate", &self.store).await?.to_f32(), session.read_async("attention", &self.store).await?.to_f32())
        } else {
            (Vec::new(), Vec::new())
        };
        let (classes, cells) = (self.config.classes.len(), self.config.grid() * self.config.grid());
        let mut results = Vec::with_capacity(n);
        for (i, (caption, crop)) in captions.into_iter().zip(crops).enumerate() {
            let named = self.config.classes.iter().zip(&probabilities[i * classes..(i + 1) * classes]);
            let mut predictions: Vec<Prediction> = named.map(|(class, &probability)| Prediction { class: class.clone(), probability }).collect();
            predictions.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            let mut gated = Vec::new();
            for word in self.tokenizer.words(&words[i]).into_iter().filter(|_| highlighted) {
                let at = word.range.clone().map(|j| i * length + j).max_by(|&a, &b| gates[a].total_cmp(&gates[b]));
                if let Some(at) = at.filter(|&at| at < gates.len()) {
                    gated.push(WordGate { word: word.text, gate: gates[at], attention: attention[at * cells..(at + 1) * cells].to_vec() });
                }
            }
            results.push(Classification { predictions, caption, words: gated, grid: self.config.grid(), crop });
        }
        Ok(results)
    }

    fn running(&self) -> Options {
        Options { timed: self.options.timed, ..Options::default() }
    }

    fn classifier_session(&mut self, batch: usize, words: usize) -> Result<Session> {
        let running = self.running();
        let mut b = Builder::new();
        let built = classifier(&mut b, &self.config, batch, words, None)?.fused;
        let probs = softmax(&mut b, built.logits)?;
        b.output("probs", probs);
        if let (Some(gate), Some(attention)) = (built.gate, built.attention) {
            b.output("gate", gate);
            b.output("attention", attention);
        }
        let graph = prepare(b.finish(), &rules(), self.options.dtype)?;
        Session::new(graph, &mut self.store, running)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("config", &self.config).field("options", &self.options).finish_non_exhaustive()
    }
}
