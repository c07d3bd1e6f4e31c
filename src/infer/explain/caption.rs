//! The caption beneath the picture, each word shaded by its gate.

use super::super::Classification;
use super::canvas::{Canvas, Colour, FAINT, Fonts, INK, PAPER, Rect, Style, mix};

const WORD: Style = Style::plain(25.0, INK);
const GATE: Style = Style::plain(12.5, FAINT);
/// From one line of words to the next.
const LINE: f32 = 70.0;
/// Around a word, inside its box.
const PAD: f32 = 7.0;
/// Between boxes.
const GAP: f32 = 5.0;
/// From the picture to the first line.
const ABOVE: f32 = 62.0;

/// The words' places.
pub(super) struct Layout {
    /// Word, gate, left edge, line.
    words: Vec<(String, Option<f32>, f32, usize)>,
    lines: usize,
    heading: String,
}

impl Layout {
    /// Breaks the caption into lines of `room` pixels.
    pub fn new(fonts: &Fonts, result: &Classification, room: f32) -> Self {
        let gated = result.words.iter().map(|w| (w.word.clone(), Some(w.gate)));
        let plain = result.caption.text.split_whitespace().map(|w| (w.to_owned(), None));
        let all: Vec<(String, Option<f32>)> = if result.words.is_empty() { plain.collect() } else { gated.collect() };
        let (mut x, mut line) = (0.0, 0);
        let mut words = Vec::new();
        for (word, gate) in all {
            let word = fonts.shortened(&word, WORD, room - 2.0 * PAD);
            let width = fonts.width(&word, WORD) + 2.0 * PAD;
            if x > 0.0 && x + width > room {
                (x, line) = (0.0, line + 1);
            }
            words.push((word, gate, x, line));
            x += width + GAP;
        }
        let shaded = if result.words.is_empty() { "" } else { ", each word shaded by how strongly it is highlighted" };
        let heading = if words.is_empty() { "The caption is empty".to_owned() } else { format!("Caption{shaded}") };
        Layout { lines: if words.is_empty() { 0 } else { line + 1 }, words, heading }
    }

    /// Rows that the caption takes.
    pub fn height(&self) -> f32 {
        ABOVE + self.lines as f32 * LINE
    }

    /// Draws it beneath `top`.
    pub fn draw(&self, canvas: &mut Canvas, fonts: &Fonts, left: f32, top: f32) {
        canvas.text(fonts, (left, top + 40.0), Style::plain(14.0, FAINT), &self.heading);
        for (word, gate, x, line) in &self.words {
            let width = fonts.width(word, WORD) + 2.0 * PAD;
            let rect = Rect { x: left + x, y: top + ABOVE + *line as f32 * LINE - 6.0, w: width, h: 40.0 };
            if let Some(gate) = gate {
                let colour = shade(*gate);
                canvas.fill(rect, 6.0, |_| colour);
                canvas.text_centred(fonts, (rect.x + width / 2.0, rect.y + 57.0), GATE, &format!("{gate:.2}"));
            }
            canvas.text(fonts, (rect.x + PAD, rect.y + 28.5), WORD, word);
        }
    }
}

/// From paper, 0, to orange, 1; ink reads on all of them.
fn shade(gate: f32) -> Colour {
    const ORANGE: Colour = [255, 150, 66];
    mix(PAPER, ORANGE, 0.06 + 0.94 * gate.clamp(0.0, 1.0))
}
