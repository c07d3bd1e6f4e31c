//! A confusion matrix as a heat map.

use super::canvas::{Canvas, Colour, FAINT, Fonts, GROOVE, INK, LINE, Rect, Style, mix};
use crate::data::image::Image;
use crate::error::Result;

/// Around everything.
const MARGIN: f32 = 36.0;
/// Beside the rows, for the names of truths.
const NAMES: f32 = 150.0;
/// Above the columns, for title, summary and the names of predictions.
const HEAD: f32 = 142.0;
/// Beneath the rows, for the scale.
const FOOT: f32 = 58.0;
/// Nothing of a row, and all of it.
const NONE: Colour = [244, 244, 241];
const ALL: Colour = [30, 62, 138];
const WHITE: Colour = [255, 255, 255];

/// Draws what was taken for what. A row is a truth, a column a prediction; colour and per cent are shares of a row, the small numbers are
/// pictures. `missed` are the pictures of each truth without a prediction; where there are any they have a column of their own.
///
/// # Errors
/// Those of the fonts and of [`Image::from_rgb`].
pub fn confusion(classes: &[String], counts: &[Vec<u64>], missed: &[u64], (title, summary): (&str, &str)) -> Result<Image> {
    let fonts = Fonts::new()?;
    let any_missed = missed.iter().any(|&n| n > 0);
    let columns = classes.len() + usize::from(any_missed);
    let (w, h) = ((880.0 / columns.max(1) as f32).clamp(40.0, 104.0).floor(), (560.0 / classes.len().max(1) as f32).clamp(32.0, 58.0).floor());
    let (left, top) = (MARGIN + NAMES, HEAD);
    let width = (left + w * columns as f32 + MARGIN).max(560.0);
    let mut canvas = Canvas::new(width as usize, (top + h * classes.len() as f32 + FOOT) as usize);
    canvas.text(&fonts, (MARGIN, 48.0), Style::bold(24.0, INK), title);
    canvas.text(&fonts, (MARGIN, 74.0), Style::plain(14.0, FAINT), &fonts.shortened(summary, Style::plain(14.0, FAINT), width - 2.0 * MARGIN));
    canvas.text(&fonts, (left, top - 32.0), Style::plain(13.0, FAINT), "predicted");
    canvas.text_right(&fonts, (left - 14.0, top - 10.0), Style::plain(13.0, FAINT), "truth");

    let small = (w / 7.0).clamp(8.0, 14.0);
    let plain = Style::plain(small, INK);
    let names = classes.iter().map(String::as_str).chain(any_missed.then_some("broken"));
    for (column, name) in names.enumerate() {
        let middle = left + w * (column as f32 + 0.5);
        let style = if column < classes.len() { plain } else { Style::plain(small, FAINT) };
        canvas.text_centred(&fonts, (middle, top - 10.0), style, &fonts.shortened(name, style, w - 4.0));
    }
    for (row, class) in classes.iter().enumerate() {
        let y = top + h * row as f32;
        let name = Style::plain(14.0, INK);
        canvas.text_right(&fonts, (left - 14.0, y + h / 2.0 + 5.0), name, &fonts.shortened(class, name, NAMES - 14.0));
        let cells: Vec<u64> = counts.get(row).into_iter().flatten().copied().chain(missed.get(row).copied().filter(|_| any_missed)).collect();
        let all: u64 = cells.iter().sum();
        for (column, &count) in cells.iter().enumerate() {
            let share = if all > 0 { count as f32 / all as f32 } else { 0.0 };
            let cell = Rect { x: left + w * column as f32, y, w, h };
            draw_cell(&mut canvas, &fonts, cell, share, count, column == row);
        }
    }
    draw_scale(&mut canvas, &fonts, left, top + h * classes.len() as f32 + 22.0);
    canvas.into_image()
}

/// One cell: its colour, its share in per cent, its pictures. The diagonal is set in bold, and what is empty is left so.
fn draw_cell(canvas: &mut Canvas, fonts: &Fonts, cell: Rect, share: f32, count: u64, diagonal: bool) {
    let Rect { x, y, w, h } = cell;
    canvas.fill(Rect { x: x + 1.0, y: y + 1.0, w: w - 2.0, h: h - 2.0 }, 4.0, |_| shade(share));
    if count == 0 {
        return;
    }
    let ink = if share > 0.45 { WHITE } else { INK };
    let faint = mix(shade(share), ink, 0.72);
    let (size, middle) = ((h / 3.2).clamp(10.0, 17.0), x + w / 2.0);
    let style = if diagonal { Style::bold(size, ink) } else { Style::plain(size, ink) };
    let percent = if share > 0.0 && share < 0.01 { "<1%".to_owned() } else { format!("{:.0}%", share * 100.0) };
    canvas.text_centred(fonts, (middle, y + h * 0.5), style, &percent);
    canvas.text_centred(fonts, (middle, y + h * 0.5 + size), Style::plain(size * 0.7, faint), &count.to_string());
}

/// What the colours stand for.
fn draw_scale(canvas: &mut Canvas, fonts: &Fonts, x: f32, y: f32) {
    let (w, style) = (180.0, Style::plain(12.0, FAINT));
    canvas.fill(Rect { x: x - 1.0, y: y - 1.0, w: w + 2.0, h: 12.0 }, 0.0, |_| LINE);
    canvas.fill(Rect { x, y, w, h: 10.0 }, 0.0, |_| GROOVE);
    canvas.fill(Rect { x, y, w, h: 10.0 }, 0.0, shade);
    canvas.text_right(fonts, (x - 8.0, y + 10.0), style, "0%");
    canvas.text(fonts, (x + w + 8.0, y + 10.0), style, "100% of a truth's pictures");
}

/// The colour of a share.
fn shade(share: f32) -> Colour {
    mix(NONE, ALL, share.clamp(0.0, 1.0).sqrt() * 0.9 + share.clamp(0.0, 1.0) * 0.1)
}
