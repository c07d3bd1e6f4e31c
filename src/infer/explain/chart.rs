//! The figure's title, and the column beside the picture: bars of probability and the scale of the heat map.

use super::super::Classification;
use super::canvas::{Canvas, FAINT, Fonts, GROOVE, INK, Rect, Style};
use crate::infer::Heat;

/// The most classes that are shown.
const MOST: usize = 10;
/// From one bar to the next.
const STEP: f32 = 46.0;
/// What the heat map's scale takes beneath the bars.
const SCALE: f32 = 104.0;

/// The probable class, its probability and the picture's name.
pub(super) fn title(canvas: &mut Canvas, fonts: &Fonts, result: &Classification, name: &str, x: f32, width: f32) {
    let Some(best) = result.predictions.first() else { return };
    let big = Style::bold(38.0, INK);
    let class = fonts.shortened(&best.class, big, width * 0.7);
    let end = canvas.text(fonts, (x, 66.0), big, &class);
    canvas.text(fonts, (end + 18.0, 66.0), Style::plain(30.0, FAINT), &percent(best.probability));
    let small = Style::plain(16.0, FAINT);
    canvas.text(fonts, (x, 95.0), small, &fonts.shortened(name, small, width));
}

/// The column beside the picture.
pub(super) struct Bars<'a> {
    result: &'a Classification,
    heat: Option<&'a Heat>,
    shown: usize,
}

impl<'a> Bars<'a> {
    /// The bars of a result, and the scale of its heat map.
    pub fn new(result: &'a Classification, heat: Option<&'a Heat>) -> Self {
        Bars { result, heat, shown: result.predictions.len().min(MOST) }
    }

    /// Rows that the column takes.
    pub fn height(&self) -> f32 {
        self.shown as f32 * STEP + SCALE
    }

    /// Draws it from the left upper corner of `column` downwards.
    pub fn draw(&self, canvas: &mut Canvas, fonts: &Fonts, column: Rect) {
        let Rect { x, w, .. } = column;
        let mut y = column.y;
        for (rank, prediction) in self.result.predictions.iter().take(self.shown).enumerate() {
            let (style, bar) = if rank == 0 { (Style::bold(18.0, INK), BEST) } else { (Style::plain(18.0, INK), OTHER) };
            canvas.text(fonts, (x, y + 16.0), style, &fonts.shortened(&prediction.class, style, w - 90.0));
            canvas.text_right(fonts, (x + w, y + 16.0), style, &percent(prediction.probability));
            canvas.fill(Rect { x, y: y + 23.0, w, h: 8.0 }, 4.0, |_| GROOVE);
            let part = prediction.probability.clamp(0.0, 1.0) * w;
            if part >= 0.5 {
                canvas.fill(Rect { x, y: y + 23.0, w: part.max(4.0), h: 8.0 }, 4.0, |_| bar);
            }
            y += STEP;
        }
        self.scale(canvas, fonts, Rect { x, y: y + 6.0, w, h: SCALE });
    }

    /// What the colours mean; without a highlight, that there are none.
    fn scale(&self, canvas: &mut Canvas, fonts: &Fonts, Rect { x, y, w, .. }: Rect) {
        let small = Style::plain(14.0, FAINT);
        let Some(heat) = self.heat else {
            let reason =
                if self.result.words.is_empty() { "No heat map: the model has no highlight." } else { "No heat map: every word's gate is shut." };
            canvas.text(fonts, (x, y + 16.0), small, reason);
            return;
        };
        canvas.text(fonts, (x, y + 16.0), Style::plain(14.0, INK), "Where the highlighted words look");
        canvas.fill(Rect { x, y: y + 27.0, w, h: 12.0 }, 3.0, |part| heat.colour(part * heat.top()));
        let even = x + w / heat.top();
        canvas.fill(Rect { x: even - 0.75, y: y + 24.0, w: 1.5, h: 18.0 }, 0.0, |_| INK);
        canvas.text(fonts, (x, y + 58.0), small, "not at all");
        canvas.text_right(fonts, (x + w, y + 58.0), small, &format!("{:.1}× average", heat.top()));
        let (label, from, to) = ("average", x + 84.0, x + w - 104.0);
        let half = fonts.width(label, small) / 2.0;
        if even - half > from && even + half < to {
            canvas.text_centred(fonts, (even, y + 58.0), small, label);
        }
    }
}

const BEST: [u8; 3] = [225, 86, 52];
const OTHER: [u8; 3] = [150, 132, 160];

/// Of a hundred, with one decimal.
fn percent(probability: f32) -> String {
    format!("{:.1}%", probability * 100.0)
}
