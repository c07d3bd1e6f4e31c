//! The names checkpoints go by, and what each means here.
//!
//! The model's own names are those of [`manifest()`](super::manifest()): a part's prefix, then the name torchvision or Hugging Face
//! gives the tensor. A file may leave the prefix out, wrap all names in `module.` or `_orig_mod.`, put BERT under `bert.`, or call a layer
//! norm's tensors `gamma` and `beta`.

use std::fmt;

/// A part of the model that may come from a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The ResNet that sees the picture.
    Backbone,
    /// The BLIP that tells it.
    Captioner,
    /// The BERT that reads the caption.
    TextEncoder,
    /// What joins picture and caption.
    Fusion,
}

impl Part {
    /// All parts, in the order of the manifest.
    pub const ALL: [Part; 4] = [Part::Backbone, Part::Captioner, Part::TextEncoder, Part::Fusion];

    /// The part's name, as in `config.json` and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Part::Backbone => "backbone",
            Part::Captioner => "captioner",
            Part::TextEncoder => "text_encoder",
            Part::Fusion => "fusion",
        }
    }

    /// The first steps of the names this part's checkpoints use without a prefix. No two parts share one.
    const fn roots(self) -> &'static [&'static str] {
        match self {
            Part::Backbone => &["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"],
            Part::Captioner => &["vision_model", "text_decoder"],
            Part::TextEncoder => &["bert", "embeddings", "encoder", "pooler", "cls"],
            Part::Fusion => &["visual_proj", "visual_pos", "visual_norm", "text_proj", "text_norm", "highlight", "blocks", "norm", "head"],
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a name in a file stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The tensor the model would call so, if it has one.
    Tensor(Part, String),
    /// A second copy of the tensor the model calls so.
    Copy(Part, String),
    /// Nothing the model needs, for this reason.
    Ignored(&'static str),
    /// Nothing known.
    Unknown,
}

/// What `name` means in a file given as `part`'s, or as any part's.
pub fn meaning(part: Option<Part>, name: &str) -> Meaning {
    let mut bare = name;
    while let Some(inner) = bare.strip_prefix("module.").or_else(|| bare.strip_prefix("_orig_mod.")) {
        bare = inner;
    }
    let (of, rest) = match (prefixed(bare), part) {
        (Some((of, _)), Some(part)) if of != part => return Meaning::Ignored("of another part"),
        (Some(found), _) => found,
        (None, Some(part)) => (part, bare),
        (None, None) => match rooted(bare) {
            Some(part) => (part, bare),
            None => return Meaning::Unknown,
        },
    };
    let rest = if of == Part::TextEncoder { rest.strip_prefix("bert.").unwrap_or(rest) } else { rest };
    if let Some(reason) = superfluous(of, rest) {
        return Meaning::Ignored(reason);
    }
    match tied(of, rest) {
        Some(original) => Meaning::Copy(of, format!("{of}.{original}")),
        None => Meaning::Tensor(of, format!("{of}.{}", modern(rest))),
    }
}

/// The part whose prefix the name has, and the name without it.
fn prefixed(name: &str) -> Option<(Part, &str)> {
    let (first, rest) = name.split_once('.')?;
    Part::ALL.into_iter().find(|p| p.name() == first).map(|part| (part, rest))
}

/// The part that uses such names without a prefix.
fn rooted(name: &str) -> Option<Part> {
    let root = name.split('.').next()?;
    Part::ALL.into_iter().find(|p| p.roots().contains(&root))
}

/// Why the model has no use for a tensor that checkpoints of this part commonly hold.
fn superfluous(part: Part, name: &str) -> Option<&'static str> {
    let root = name.split('.').next();
    let leaf = name.rsplit('.').next();
    match (part, root, leaf) {
        (_, _, Some("num_batches_tracked")) => Some("batch norm's counters are not used"),
        (_, _, Some("position_ids")) => Some("positions are counted, not stored"),
        (Part::Backbone, Some("fc"), _) => Some("ImageNet's classifier is not used"),
        (Part::TextEncoder, Some("pooler"), _) => Some("BERT's pooler is not used"),
        (Part::TextEncoder, Some("cls"), _) => Some("BERT's pre-training heads are not used"),
        _ => None,
    }
}

/// The tensor this one repeats: the captioner's output layer is its word embedding.
fn tied(part: Part, name: &str) -> Option<&'static str> {
    match (part, name) {
        (Part::Captioner, "text_decoder.cls.predictions.decoder.weight") => Some("text_decoder.bert.embeddings.word_embeddings.weight"),
        (Part::Captioner, "text_decoder.cls.predictions.decoder.bias") => Some("text_decoder.cls.predictions.bias"),
        _ => None,
    }
}

/// The name with a layer norm's tensors called `weight` and `bias`.
fn modern(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((norm, "gamma")) if norm.ends_with("LayerNorm") => format!("{norm}.weight"),
        Some((norm, "beta")) if norm.ends_with("LayerNorm") => format!("{norm}.bias"),
        _ => name.to_owned(),
    }
}
