//! From the captioner's tokens to those the text encoder reads.

use crate::data::captions::without_phrase;
use crate::data::tokenizer::Tokenizer;
use crate::model::config::{EscnetConfig, Reading};

/// The captioner's ids as the text encoder takes them: what was spoken, as much of it as the model reads.
pub fn hand_off(config: &EscnetConfig, tokenizer: &Tokenizer, ids: &[i32]) -> Vec<i32> {
    let spoken = spoken(config, tokenizer, ids);
    match config.reading {
        Reading::Whole => spoken,
        Reading::WithoutEmotion => {
            let text = tokenizer.decode(&spoken, true);
            let rest = without_phrase(&text);
            if rest.len() < text.len() { tokenizer.encode(rest, None) } else { spoken }
        }
        Reading::Nothing => tokenizer.encode("", None),
    }
}

/// The captioner's ids in the text encoder's terms: the start token becomes \[CLS\], what stands after the first \[SEP\] is cut, and ids that
/// the text encoder's vocabulary lacks become \[UNK\].
pub(super) fn spoken(config: &EscnetConfig, tokenizer: &Tokenizer, ids: &[i32]) -> Vec<i32> {
    let end_token = config.captioner.text_config.sep_token_id as i32;
    let end = ids.iter().position(|&id| id == end_token).map_or(ids.len(), |at| at + 1);
    let known = |id: i32| if (0..config.text_encoder.vocab_size as i32).contains(&id) { id } else { tokenizer.unknown() };
    let body = ids.iter().take(end).skip(1).map(|&id| known(id));
    std::iter::once(config.cls_token_id as i32).chain(body).collect()
}
