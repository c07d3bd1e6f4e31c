//! Graphs as a picture: each a column, its nodes a line each in the order in which they run.

use super::{Drawing, Drawn, colours};
use std::fmt::Write;

/// Height of a line, width of a column, and of what lies left of the lines in it.
const LINE: f64 = 16.0;
const COLUMN: f64 = 620.0;
const ARCS: f64 = 120.0;
const ABOVE: f64 = 112.0;
const INK: &str = "#1c1c24";
const FAINT: &str = "#6e6e7a";

/// The picture.
pub fn svg(drawing: &Drawing) -> String {
    let most = drawing.graphs.iter().map(|graph| graph.nodes.len()).max().unwrap_or(0);
    let (width, height) = (COLUMN * drawing.graphs.len().max(1) as f64 + 16.0, ABOVE + LINE * most as f64 + 24.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    svg += &text((16.0, 28.0), INK, &drawing.title, "font-size=\"18\" font-weight=\"600\"");
    for (i, graph) in drawing.graphs.iter().enumerate() {
        svg += &column(COLUMN * i as f64 + 16.0, graph);
    }
    svg + "</svg>\n"
}

fn column(left: f64, graph: &Drawn) -> String {
    let title = format!("{}: {} nodes, {:.2} MB planned", graph.name, graph.nodes.len(), graph.planned as f64 / 1e6);
    let mut svg = text((left, 52.0), INK, &title, "font-size=\"13\" font-weight=\"600\"");
    let colours = colours(&graph.nodes);
    let mut x = left;
    for (part, colour) in &colours {
        let _ = writeln!(svg, "<rect x=\"{x:.1}\" y=\"66\" width=\"10\" height=\"10\" fill=\"{colour}\"/>");
        svg += &text((x + 14.0, 75.0), FAINT, part, "");
        x += 30.0 + 6.2 * part.len() as f64;
    }
    let at = |n: usize| ABOVE + LINE * n as f64;
    let edge = left + ARCS;
    for (n, node) in graph.nodes.iter().enumerate() {
        for from in node.reads.iter().filter_map(|read| read.from).filter(|from| n - from > 1) {
            let wide = (10.0 + 14.0 * ((n - from) as f64).log2()).min(ARCS - 4.0);
            let _ = writeln!(
                svg,
                "<path d=\"M{edge:.1} {0:.1} C{2:.1} {0:.1} {2:.1} {1:.1} {edge:.1} {1:.1}\" fill=\"none\" stroke=\"#b9b9c2\"/>",
                at(from),
                at(n),
                edge - wide
            );
        }
    }
    let most = graph.nodes.iter().map(|node| node.flops).max().unwrap_or(0).max(1);
    for (n, node) in graph.nodes.iter().enumerate() {
        let y = at(n);
        let makes = match &node.gives[..] {
            [first, rest @ ..] if !rest.is_empty() => format!("{first} +{}", rest.len()),
            gives => gives.concat(),
        };
        let slots: Vec<String> = node.slots.iter().flatten().map(usize::to_string).collect();
        let _ = writeln!(svg, "<g class=\"node\"><title>{}: {} FLOP, {} B</title>", escaped(&node.scope), node.flops, node.bytes);
        let _ =
            writeln!(svg, "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\" fill=\"{}\"/>", edge + 4.0, y - 4.5, colours[node.part.as_str()]);
        svg += &text((edge + 18.0, y + 4.0), INK, &node.op, "");
        svg += &text((edge + 190.0, y + 4.0), FAINT, &makes, "");
        svg += &text((edge + 370.0, y + 4.0), FAINT, &slots.join(" "), "");
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"8\" fill=\"#9a9aa4\"/>",
            edge + 410.0,
            y - 4.0,
            70.0 * node.flops as f64 / most as f64
        );
        svg += "</g>\n";
    }
    svg += &text((edge + 18.0, ABOVE - 10.0), FAINT, "operator", "");
    svg += &text((edge + 190.0, ABOVE - 10.0), FAINT, "makes", "");
    svg += &text((edge + 370.0, ABOVE - 10.0), FAINT, "slot", "");
    svg + &text((edge + 410.0, ABOVE - 10.0), FAINT, "FLOP", "")
}

fn text((x, y): (f64, f64), colour: &str, what: &str, more: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\" {more}>{}</text>\n", escaped(what))
}

/// As text of XML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
