//! Captions from images: the vision tower once, then one decoding step a token over cached keys and values.

use super::search::{BeamSearch, Hypothesis, Sampling, SearchOptions};
use crate::device::now::now;
use crate::error::{Error, Result};
use crate::graph::{Builder, NodeTime, Options, Segment, Session, Store, prepare};
use crate::model::captioner::{decode_step, encode};
use crate::model::config::CaptionerConfig;
use crate::model::decoder::{Decoding, LENGTH, POSITION};
use crate::ops::rules;
use crate::tensor::{DType, Tensor};

/// How captions are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Beams; 1 is greedy unless `sampling` is given.
    pub beams: usize,
    /// The most tokens, start token and prompt included.
    pub max_length: usize,
    /// The fewest tokens before a caption may end, start token and prompt included.
    pub min_length: usize,
    /// See [`SearchOptions::length_penalty`].
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

/// The sessions that caption a fixed number of images at a time. The parameters are the store's.
#[derive(Debug)]
pub struct Captioner {
    config: CaptionerConfig,
    options: Generation,
    decoding: Decoding,
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
        if options.beams == 0 || (options.beams > 1 && options.sampling.is_some()) {
            return argument("beams", "at least 1, and 1 for sampling".to_owned(), options.beams.to_string());
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
        decode_step(&mut b, config, &decoding, BeamSearch::width(options.beams), options.sampling.is_some())?;
        let step = session(b)?;
        Ok(Captioner { config: config.clone(), options, decoding, encode, step })
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

    /// Runs one step at `position`.
    fn run_step(&mut self, position: usize, ids: Vec<i32>, parents: Vec<i32>, store: &mut Store) -> Result<()> {
        let rows = self.decoding.rows();
        self.step.write("ids", &Tensor::from_i32([rows, 1], ids)?)?;
        self.step.write("parents", &Tensor::from_i32([rows], parents)?)?;
        store.write(POSITION, &Tensor::from_i32([1], vec![position as i32])?)?;
        store.write(LENGTH, &Tensor::from_i32([1], vec![position as i32 + 1])?)?;
        self.step.run(store, Segment::Run)
    }

    /// Fills the caches with all of the prompt but its last token.
    fn feed_prompt(&mut self, prompt: &[i32], store: &mut Store) -> Result<()> {
        let rows = self.decoding.rows();
        for (position, &id) in prompt.iter().enumerate().take(prompt.len().saturating_sub(1)) {
            self.run_step(position, vec![id; rows], (0..rows as i32).collect(), store)?;
        }
        Ok(())
    }

    fn search_options(&self) -> SearchOptions {
        SearchOptions {
            beams: self.options.beams,
            max_length: self.options.max_length,
            min_length: self.options.min_length,
            length_penalty: self.options.length_penalty,
            end: self.config.text_config.sep_token_id as i32,
        }
    }

    /// Greedy search is beam search with one beam that takes the best candidate, whatever ends: the first to end wins.
    async fn search(&mut self, prompt: &[i32], store: &mut Store) -> Result<Vec<Hypothesis>> {
        if self.options.beams == 1 {
            return self.sample(prompt, Sampling { temperature: 1.0, top_k: 1, top_p: 1.0, seed: 0 }, 0, store).await;
        }
        self.feed_prompt(prompt, store)?;
        let Decoding { images, beams, .. } = self.decoding;
        let mut searches: Vec<BeamSearch> = (0..images).map(|_| BeamSearch::new(self.search_options(), prompt)).collect();
        let mut parents: Vec<i32> = (0..self.decoding.rows() as i32).collect();
        let mut position = prompt.len() - 1;
        while searches.iter().any(|s| !s.is_done()) {
            let ids = searches.iter().flat_map(BeamSearch::last_tokens).collect();
            self.run_step(position, ids, parents.clone(), store)?;
            let next = self.candidates(store).await?;
            for (image, search) in searches.iter_mut().enumerate().filter(|(_, s)| !s.is_done()) {
                let of_image: Vec<&[(f32, i32)]> = next[image * beams..(image + 1) * beams].iter().map(Vec::as_slice).collect();
                for (beam, from) in search.advance(&of_image).into_iter().enumerate() {
                    parents[image * beams + beam] = (image * beams + from) as i32;
                }
            }
            position += 1;
        }
        Ok(searches.into_iter().map(BeamSearch::result).collect())
    }

    /// The most probable next tokens of each row.
    async fn candidates(&self, store: &Store) -> Result<Vec<Vec<(f32, i32)>>> {
        let (values, ids) = (self.step.read_async("top.log_probs", store).await?, self.step.read_async("top.ids", store).await?);
        let (_, width) = values.shape().rows_and_width();
        let pairs: Vec<(f32, i32)> = values.to_f32().into_iter().zip(ids.as_i32().unwrap_or_default().iter().copied()).collect();
        Ok(pairs.chunks(width.max(1)).map(<[_]>::to_vec).collect())
    }

    /// One sequence an image, its tokens drawn; greedy where only the most probable may be.
    async fn sample(&mut self, prompt: &[i32], sampling: Sampling, first: usize, store: &mut Store) -> Result<Vec<Hypothesis>> {
        self.feed_prompt(prompt, store)?;
        let options = self.search_options();
        let rows = self.decoding.rows();
        let mut rows_now: Vec<Hypothesis> = vec![Hypothesis { ids: prompt.to_vec(), score: 0.0 }; rows];
        let ended = |h: &Hypothesis| h.ids.len() > prompt.len() && h.ids.last() == Some(&options.end);
        let mut position = prompt.len() - 1;
        while position + 1 < options.max_length && !rows_now.iter().all(ended) {
            let ids = rows_now.iter().map(|h| h.ids.last().copied().unwrap_or(options.end)).collect();
            self.run_step(position, ids, (0..rows as i32).collect(), store)?;
            let may_end = position + 1 >= options.min_length;
            let drawn: Vec<(f32, i32)> = if sampling.top_k == 1 {
                let best = |row: &Vec<(f32, i32)>| row.iter().copied().find(|(_, id)| *id != options.end || may_end);
                self.candidates(store).await?.iter().map(|row| best(row).unwrap_or((0.0, options.end))).collect()
            } else {
                let mut log_probs = self.step.read_async("log_probs", store).await?.to_f32();
                let vocabulary = self.config.text_config.vocab_size;
                let row = |(r, row): (usize, &mut [f32])| {
                    if let (false, Some(end)) = (may_end, row.get_mut(options.end as usize)) {
                        *end = f32::NEG_INFINITY;
                    }
                    sampling.draw(row, first + r, position)
                };
                log_probs.chunks_mut(vocabulary).enumerate().map(row).collect()
            };
            for (h, (log_p, id)) in rows_now.iter_mut().zip(drawn) {
                if !ended(h) {
                    h.ids.push(id);
                    h.score += log_p;
                }
            }
            position += 1;
        }
        let penalty = |h: &Hypothesis| ((h.ids.len() - prompt.len()).max(1) as f32).powf(options.length_penalty);
        rows_now.iter_mut().for_each(|h| h.score /= penalty(h));
        Ok(rows_now)
    }
}
