//! Captions from images: the vision tower once, then one decoding step a token over cached keys and values.

use super::search::{Hypothesis, Sampling};
use crate::device::now::now;
use crate::error::{Error, Result};
use crate::graph::{Builder, NodeTime, Options, Segment, Session, Store, prepare};
use crate::model::captioner::{SEARCHED, decode_step, encode, search_state};
use crate::model::config::{CaptionerConfig, TextDecoderConfig};
use crate::model::decoder::{Decoding, LENGTH, POSITION};
use crate::ops::beam_step::{BeamStep, MOST_BEAMS};
use crate::ops::rules;
use crate::tensor::{DType, Tensor};

/// Steps between two looks at whether all captions are done, where a look waits for the device: for all that is queued, and then for the way there and
/// back, some milliseconds in a browser, in which the device has nothing to do. What was queued too much costs half as many steps. A caption has 10 to 20
/// tokens, so that there are one or two looks.
const STEPS_A_LOOK: usize = 8;

/// How captions are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Beams; 1 is greedy unless `sampling` is given.
    pub beams: usize,
    /// The most tokens, start token and prompt included.
    pub max_length: usize,
    /// The fewest tokens before a caption may end, start token and prompt included.
    pub min_length: usize,
    /// A finished caption's score is sum log p / (tokens after the prompt)^this.
    pub length_penalty: f32,
    /// Token ids put after the start token.
    pub prompt: Vec<i32>,
    /// Draws tokens instead of taking the most probable.
    pub sampling: Option<Sampling>,
}

impl Default for Generation {
    /// Beam 3, 5 to 40 tokens, no prompt.
    fn default() -> Self {
        Generation { beams: 3, max_length: 40, min_length: 5, length_penalty: 1.0, prompt: Vec::new(), sampling: None }
    }
}

impl Generation {
    /// The search that it asks for where tokens are not drawn.
    pub(super) fn search(&self, config: &TextDecoderConfig) -> BeamStep {
        let before = self.prompt.len() + 1;
        BeamStep {
            beams: self.beams,
            steps: self.max_length.saturating_sub(before),
            least: self.min_length.saturating_sub(before),
            length_penalty: self.length_penalty,
            end: config.sep_token_id as i32,
        }
    }
}

/// The sessions that caption a fixed number of images at a time. The parameters are the store's.
#[derive(Debug)]
pub struct Captioner {
    config: CaptionerConfig,
    options: Generation,
    decoding: Decoding,
    search: BeamStep,
    encode: Session,
    step: Session,
}

impl Captioner {
    /// Builds the sessions for `images` images at a time, computing in `dtype`.
    ///
    /// # Errors
    /// [`Error::Argument`] where the options do not fit the model; those of [`Session::new`].
    pub fn new(config: &CaptionerConfig, images: usize, options: Generation, dtype: DType, running: Options, store: &mut Store) -> Result<Self> {
        let text = &config.text_config;
        let longest = text.max_position_embeddings;
        let argument = |name, expected: String, got: String| Err(Error::Argument { name, expected, got });
        if options.max_length < options.prompt.len() + 2 || options.max_length > longest {
            return argument("max_length", format!("{} to {longest}", options.prompt.len() + 2), options.max_length.to_string());
        }
        let most = if options.sampling.is_some() { 1 } else { MOST_BEAMS };
        if !(1..=most).contains(&options.beams) {
            return argument("beams", format!("1 to {MOST_BEAMS}, and 1 for sampling"), options.beams.to_string());
        }
        if let Some(&id) = options.prompt.iter().find(|&&id| id < 0 || id as usize >= text.vocab_size) {
            return argument("prompt", format!("ids below {}", text.vocab_size), id.to_string());
        }
        let (beams, max_length, vision_tokens) = (options.beams, options.max_length, config.vision_config.tokens());
        let decoding = Decoding { images, beams, max_length, vision_tokens };
        let mut b = Builder::new();
        encode(&mut b, config, &decoding)?;
        let mut session = |b: Builder| {
            let graph = prepare(b.finish(), &rules(), dtype)?;
            Session::new(graph, store, running)
        };
        let encode = session(b)?;
        let mut b = Builder::new();
        let search = options.search(text);
        decode_step(&mut b, config, &decoding, options.sampling.is_none().then_some(search))?;
        let step = session(b)?;
        Ok(Captioner { config: config.clone(), options, decoding, search, encode, step })
    }

    /// Captions as many images as the sessions were built for: [images, S, S, 3], normalised. `first` is the number of the first of them
    /// among all that are captioned: sampling draws by it, so that a caption does not depend on how images are batched.
    ///
    /// # Errors
    /// [`Error::Graph`] where the tensor has another shape.
    pub fn caption(&mut self, image: &Tensor, first: usize, store: &mut Store) -> Result<Vec<Hypothesis>> {
        now(self.caption_async(image, first, store))
    }

    /// The same, to be awaited.
    ///
    /// # Errors
    /// As [`Captioner::caption`].
    pub async fn caption_async(&mut self, image: &Tensor, first: usize, store: &mut Store) -> Result<Vec<Hypothesis>> {
        self.encode.write("caption_image", image)?;
        self.encode.run(store, Segment::Run)?;
        let prompt: Vec<i32> = std::iter::once(self.config.text_config.bos_token_id as i32).chain(self.options.prompt.iter().copied()).collect();
        self.feed(&prompt, store)?;
        match self.options.sampling {
            Some(sampling) => self.sample(&prompt, sampling, first, store).await,
            None => self.search(&prompt, store).await,
        }
    }

    /// What the sessions took: first the vision tower, then the decoder's step. See [`Session::times_async`].
    ///
    /// # Errors
    /// As there.
    pub async fn times(&mut self) -> Result<[Vec<NodeTime>; 2]> {
        Ok([self.encode.times_async().await?, self.step.times_async().await?])
    }

    /// Says what the next step decodes, each row behind its own cache.
    fn place(&self, position: usize, ids: Vec<i32>, store: &mut Store) -> Result<()> {
        let rows = self.decoding.rows();
        store.write(&self.decoding.ids(), &Tensor::from_i32([rows, 1], ids)?)?;
        store.write(&self.decoding.parents(), &Tensor::from_i32([rows], (0..rows as i32).collect())?)?;
        store.write(POSITION, &Tensor::from_i32([1], vec![position as i32])?)?;
        store.write(LENGTH, &Tensor::from_i32([1], vec![position as i32 + 1])?)
    }

    /// Fills the caches with all of the prompt but its last token, which the next step decodes.
    fn feed(&mut self, prompt: &[i32], store: &mut Store) -> Result<()> {
        for (position, &id) in prompt.iter().enumerate() {
            if position > 0 {
                self.step.run(store, Segment::Run)?;
            }
            self.place(position, vec![id; self.decoding.rows()], store)?;
        }
        Ok(())
    }

    /// The steps follow each other on the device, and know by themselves when they have nothing more to do.
    async fn search(&mut self, prompt: &[i32], store: &mut Store) -> Result<Vec<Hypothesis>> {
        let search = self.search;
        let [_, scores, status] = search_state(&self.decoding, &search);
        let start = search.start(self.decoding.images)?;
        store.write(&scores, &start[0])?;
        store.write(&status, &start[1])?;
        let [trellis, scores, status] = SEARCHED;
        let steps_a_look = if store.device().runs_ahead() { STEPS_A_LOOK } else { 1 };
        for step in 1..=search.steps {
            self.step.run(store, Segment::Run)?;
            let looks = step % steps_a_look == 0 && step < search.steps;
            if looks && search.is_done(self.step.read_async(status, store).await?.as_i32().unwrap_or_default()) {
                break;
            }
        }
        let trellis = self.step.read_async(trellis, store).await?;
        let scores = self.step.read_async(scores, store).await?.to_f32();
        let status = self.step.read_async(status, store).await?;
        let captions = search.captions(trellis.as_i32().unwrap_or_default(), &scores, status.as_i32().unwrap_or_default());
        Ok(captions.into_iter().map(|(tokens, score)| Hypothesis { ids: [prompt, &tokens].concat(), score }).collect())
    }

    /// One sequence an image, its tokens drawn.
    async fn sample(&mut self, prompt: &[i32], sampling: Sampling, first: usize, store: &mut Store) -> Result<Vec<Hypothesis>> {
        let Generation { max_length, min_length, length_penalty, .. } = self.options;
        let TextDecoderConfig { sep_token_id, vocab_size, .. } = self.config.text_config;
        let end = sep_token_id as i32;
        let mut rows_now: Vec<Hypothesis> = vec![Hypothesis { ids: prompt.to_vec(), score: 0.0 }; self.decoding.rows()];
        let ended = |h: &Hypothesis| h.ids.len() > prompt.len() && h.ids.last() == Some(&end);
        let mut position = prompt.len() - 1;
        while position + 1 < max_length && !rows_now.iter().all(ended) {
            self.place(position, rows_now.iter().map(|h| h.ids.last().copied().unwrap_or(end)).collect(), store)?;
            self.step.run(store, Segment::Run)?;
            let mut log_probs = self.step.read_async("log_probs", store).await?.to_f32();
            for (r, (h, row)) in rows_now.iter_mut().zip(log_probs.chunks_mut(vocab_size)).enumerate() {
                if let (true, Some(end)) = (position + 1 < min_length, row.get_mut(end as usize)) {
                    *end = f32::NEG_INFINITY;
                }
                let (log_p, id) = sampling.draw(row, first + r, position);
                if !ended(h) {
                    h.ids.push(id);
                    h.score += log_p;
                }
            }
            position += 1;
        }
        let penalty = |h: &Hypothesis| ((h.ids.len() - prompt.len()).max(1) as f32).powf(length_penalty);
        rows_now.iter_mut().for_each(|h| h.score /= penalty(h));
        Ok(rows_now)
    }
}
