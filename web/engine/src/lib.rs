//! The engine in a browser: a model in memory, pictures in, results out as JSON, which `web/src/engine.ts` types.

use escnet::device::Device;
use escnet::graph::NodeTime;
use escnet::infer::{Caption, Classification, Heat, Model, ModelFiles, WordGate};
use escnet::{DType, EngineOptions, Error, Image};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use wasm_bindgen::prelude::*;

/// Cells along one side of a heat map that is handed out; the page stretches it.
const HEAT: usize = 160;

/// A library's error as JavaScript throws it: what the device is to blame for is told apart by name, since a fresh engine may help.
fn thrown(error: Error) -> JsValue {
    let thrown = js_sys::Error::new(&error.to_string());
    if matches!(error, Error::Device { .. }) {
        thrown.set_name("DeviceError");
    }
    thrown.into()
}

fn offers_half(device: &Device) -> bool {
    device.gpu().is_some_and(|gpu| gpu.abilities().half)
}

/// A decoded picture.
#[wasm_bindgen]
pub struct Picture(Image);

#[wasm_bindgen]
impl Picture {
    /// Reads JPEG, PNG or WebP as the program does, to the same pixels.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Picture, JsValue> {
        Image::decode(bytes, name).map(Picture).map_err(thrown)
    }
}

/// A model on the browser's GPU.
#[wasm_bindgen]
pub struct Engine {
    engine: escnet::Engine,
    captions: Vec<Caption>,
    result: Option<Classification>,
}

#[wasm_bindgen]
impl Engine {
    /// Opens the GPU and puts the model on it: the contents of a model folder's files. It computes in f16 if `half` says so and the GPU can.
    pub async fn open(
        config: String,
        weights: Vec<u8>,
        vocabulary: String,
        half: bool,
        preprocessor: Option<String>,
        lexicon: Option<String>,
    ) -> Result<Engine, JsValue> {
        let model = Model::of(ModelFiles { config, weights, vocabulary, preprocessor, lexicon }).map_err(thrown)?;
        let device = Device::wgpu_async(None).await.map_err(thrown)?;
        let dtype = if half && offers_half(&device) { DType::F16 } else { DType::F32 };
        let options = EngineOptions { dtype, timed: true, ..EngineOptions::default() };
        Ok(Engine { engine: escnet::Engine::new(model, &device, options), captions: Vec::new(), result: None })
    }

    /// The device, in words.
    pub fn device(&self) -> String {
        self.engine.device().describe()
    }

    /// Whether this GPU can store numbers in f16.
    pub fn offers_half(&self) -> bool {
        offers_half(self.engine.device())
    }

    /// Captions a picture: the words. [`Engine::classify`] of the same picture goes on from there.
    pub async fn caption(&mut self, picture: &Picture) -> Result<String, JsValue> {
        self.result = None;
        self.captions = self.engine.caption_all_async(std::slice::from_ref(&picture.0)).await.map_err(thrown)?;
        Ok(self.captions.first().map(|c| c.text.clone()).unwrap_or_default())
    }

    /// Classifies the picture that was captioned last.
    pub async fn classify(&mut self, picture: &Picture) -> Result<String, JsValue> {
        let mut results = self.engine.classify_captioned_async(std::slice::from_ref(&picture.0), &self.captions).await.map_err(thrown)?;
        self.result = results.pop();
        let told = |r: &Classification| {
            let predictions: Vec<Value> = r.predictions.iter().map(|p| json!({ "class": p.class, "probability": p.probability })).collect();
            let words: Vec<Value> = r.words.iter().map(|w| json!({ "word": w.word, "gate": w.gate })).collect();
            let (size, [left, top, right, bottom]) = ([picture.0.width(), picture.0.height()], r.crop.visible());
            json!({ "predictions": predictions, "caption": r.caption.text, "words": words, "seen": [left, top, right, bottom], "size": size })
        };
        Ok(self.result.as_ref().map(told).unwrap_or_default().to_string())
    }

    /// Where a word of the last result looks, or all of them by their gates, over the part of the picture that was seen: RGBA, in rows of equal
    /// length. None where there is nothing to show.
    pub fn heat(&self, word: Option<usize>) -> Result<Option<Vec<u8>>, JsValue> {
        let Some(result) = &self.result else { return Ok(None) };
        let of_word = |w: &WordGate| Classification { words: vec![WordGate { gate: 1.0, ..w.clone() }], ..result.clone() };
        let heat = match word {
            None => Heat::of(result),
            Some(i) => result.words.get(i).map_or(Ok(None), |w| Heat::of(&of_word(w))),
        };
        let Some(heat) = heat.map_err(thrown)? else { return Ok(None) };
        let at = |i: usize| (i as f64 + 0.5) / HEAT as f64;
        let pixel = |i: usize| {
            let [r, g, b] = heat.colour(heat.at([at(i % HEAT), at(i / HEAT)]));
            [r, g, b, 255]
        };
        Ok(Some((0..HEAT * HEAT).flat_map(pixel).collect()))
    }

    /// What each node took since this was last asked, and the texts of the kernels, each once.
    pub async fn times(&mut self) -> Result<String, JsValue> {
        let mut sources: Vec<Arc<str>> = Vec::new();
        let mut numbers: HashMap<Arc<str>, usize> = HashMap::new();
        let times = self.engine.times_async().await.map_err(thrown)?;
        let mut told = |t: &NodeTime| {
            let mut kernel = |k: &escnet::device::Kernel| {
                let number = *numbers.entry(k.source.clone()).or_insert_with(|| {
                    sources.push(k.source.clone());
                    sources.len() - 1
                });
                json!({ "entry": k.entry, "source": number })
            };
            let kernels: Vec<Value> = t.kernels.iter().map(&mut kernel).collect();
            let ms = t.time.as_secs_f64() * 1e3;
            json!({ "label": t.label, "scope": t.scope, "ms": ms, "runs": t.runs, "flops": t.cost.flops, "bytes": t.cost.bytes, "kernels": kernels })
        };
        let nodes: Vec<Value> = times.iter().filter(|t| !t.kernels.is_empty()).map(&mut told).collect();
        let sources: Vec<&str> = sources.iter().map(|s| &**s).collect();
        Ok(json!({ "nodes": nodes, "sources": sources }).to_string())
    }
}
