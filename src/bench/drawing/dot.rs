//! Graphs for Graphviz: `dot -Tsvg`.

use super::{Drawing, Drawn, Item, colours};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A `digraph` for each graph, its parts as clusters.
pub fn dot(drawing: &Drawing) -> String {
    drawing.graphs.iter().map(|graph| digraph(&drawing.title, graph)).collect()
}

fn digraph(title: &str, graph: &Drawn) -> String {
    let mut text = format!("digraph {} {{\n", quoted(&format!("{title}: {}", graph.name)));
    text += "  node [shape=box, style=filled, fontname=\"sans-serif\", fontsize=10, fontcolor=white, color=white];\n  edge [fontname=\"sans-serif\", fontsize=8];\n";
    let colours = colours(&graph.nodes);
    let mut parts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    graph.nodes.iter().enumerate().for_each(|(n, node)| parts.entry(&node.part).or_default().push(n));
    for (c, (part, nodes)) in parts.into_iter().enumerate() {
        let _ = writeln!(text, "  subgraph cluster_{c} {{\n    label={}; color=\"{}\";", quoted(part), colours[part]);
        for n in nodes {
            let _ = writeln!(text, "    n{n} [label={}, fillcolor=\"{}\"];", quoted(&label(&graph.nodes[n])), colours[part]);
        }
        text += "  }\n";
    }
    for (n, node) in graph.nodes.iter().enumerate() {
        for read in &node.reads {
            if let Some(from) = read.from {
                let _ = writeln!(text, "  n{from} -> n{n} [xlabel={}];", quoted(&read.ty));
            }
        }
    }
    text + "}\n"
}

fn label(node: &Item) -> String {
    let slots: Vec<String> = node.slots.iter().flatten().map(usize::to_string).collect();
    let slots = if slots.is_empty() { String::new() } else { format!("\nslot {}", slots.join(", ")) };
    let time = node.us.map_or(String::new(), |us| format!("\n{us:.1} us"));
    format!("{}\n{}{slots}{time}", node.op, node.gives.join(" "))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
