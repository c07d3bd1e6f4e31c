//! Pictures of graphs: every node with its types, slots and cost, before fusion and after it; where they were run, with kernels and times as well.
//!
//! `svg` lists nodes in the order in which they run, arcs beside them for what goes from one to another that does not follow at once; `dot` is for Graphviz; `html` is
//! one page in which a node, once clicked, shows its formula, its kernels and what it took.

mod dot;
mod html;
mod svg;

use super::profile::Profile;
use crate::graph::{Graph, Node, Plan, Segment, Source, Value};
use crate::infer::inspect::part_of;
use crate::op::Cost;
use crate::ops::row;
use serde::Serialize;
use std::collections::BTreeMap;

pub use dot::dot;
pub use html::html;
pub(super) use svg::escaped;
pub use svg::svg;

/// Graphs that are drawn together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drawing {
    /// The model.
    pub title: String,
    /// Where they ran; none where they did not.
    pub device: Option<String>,
    /// The graphs.
    pub graphs: Vec<Drawn>,
    /// What each operator computes, by its stem.
    pub about: BTreeMap<String, String>,
    /// The file of each operator's code, by its stem: what the CPU runs. Texts of all would be as large as the rest of the program's.
    pub files: BTreeMap<String, String>,
    /// Texts of kernels, each once.
    pub sources: Vec<String>,
}

/// One graph.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drawn {
    /// What it computes, and whether it is fused.
    pub name: String,
    /// Bytes that are planned for all tensors.
    pub planned: usize,
    /// Nodes in their order, those that run when weights are loaded first, views left out.
    pub nodes: Vec<Item>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// The operator and its pass.
    pub op: String,
    /// The operator.
    pub stem: String,
    /// The part of the model.
    pub part: String,
    /// Where it stands in the model.
    pub scope: String,
    /// When it runs.
    pub when: &'static str,
    /// The operator with its attributes, as the library writes it.
    pub attributes: String,
    /// What it reads.
    pub reads: Vec<Read>,
    /// What it makes, but for what nobody wants: types.
    pub gives: Vec<String>,
    /// The slots that these lie in; none for state.
    pub slots: Vec<Option<usize>>,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written, each once.
    pub bytes: u64,
    /// What it took, in microseconds.
    pub us: Option<f64>,
    /// Its kernels: entry points, and which of the texts.
    pub kernels: Vec<(String, usize)>,
}

/// A tensor that a node reads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Read {
    /// The node that made it; none for inputs, state and constants.
    pub from: Option<usize>,
    /// Its name, for those.
    pub name: String,
    /// Its type.
    pub ty: String,
}

impl Drawing {
    /// With nothing in it yet.
    pub fn new(title: String) -> Self {
        Drawing { title, device: None, graphs: Vec::new(), about: BTreeMap::new(), files: BTreeMap::new(), sources: Vec::new() }
    }

    /// Adds a graph, planned for so many CPU threads.
    pub fn add(&mut self, name: String, graph: &Graph, threads: usize) {
        let plan = Plan::new(graph, threads);
        let mut makers: Vec<Option<usize>> = vec![None; graph.values().count()];
        let mut nodes: Vec<Item> = Vec::new();
        for segment in [Segment::Prepare, Segment::Run, Segment::Apply] {
            for node in graph.nodes().iter().filter(|node| node.segment == segment) {
                if node.op.is_view() {
                    // Who reads a view reads what it is a view of.
                    node.outputs.iter().for_each(|v| makers[v.index()] = node.inputs.first().and_then(|of| makers[of.index()]));
                    continue;
                }
                nodes.push(item(graph, &plan, node, &makers));
                node.outputs.iter().for_each(|v| makers[v.index()] = Some(nodes.len() - 1));
            }
        }
        for stem in nodes.iter().map(|node| &node.stem) {
            let about = || row(stem).map(|row| row.about()).unwrap_or_default();
            self.about.entry(stem.clone()).or_insert_with(about);
            self.files.extend(row(stem).map(|row| (stem.clone(), row.file())));
        }
        self.graphs.push(Drawn { name, planned: plan.peak_bytes, nodes });
    }

    /// Adds times and kernels to the latest graph, which was profiled.
    pub fn measured(&mut self, profile: &Profile) {
        self.device = Some(profile.device.clone());
        let Some(graph) = self.graphs.last_mut() else { return };
        let ran = graph.nodes.iter_mut().filter(|node| node.when != segment_name(Segment::Prepare));
        for (node, spent) in ran.zip(&profile.nodes) {
            node.us = Some(spent.us);
            for (entry, source) in spent.kernels.iter().zip(&spent.sources) {
                let at = self.sources.iter().position(|known| **known == **source).unwrap_or_else(|| {
                    self.sources.push(source.to_string());
                    self.sources.len() - 1
                });
                node.kernels.push((entry.clone(), at));
            }
        }
    }
}

fn item(graph: &Graph, plan: &Plan, node: &Node, makers: &[Option<usize>]) -> Item {
    let read = |&v: &Value| {
        let info = graph.info(v);
        let name = match info.source {
            Source::Node => String::new(),
            Source::Constant(_) => "constant".to_owned(),
            _ => info.name.clone(),
        };
        Read { from: makers[v.index()], name, ty: info.ty.to_string() }
    };
    let Cost { flops, bytes } = graph.cost(node);
    let wanted = || node.outputs.iter().filter(|v| !plan.unwanted[v.index()]);
    Item {
        op: node.op.label(),
        stem: node.op.stem().to_owned(),
        part: part_of(&node.scope),
        scope: node.scope.clone(),
        when: segment_name(node.segment),
        attributes: format!("{:?}", node.op),
        reads: node.inputs.iter().map(read).collect(),
        gives: wanted().map(|&v| graph.ty(v).to_string()).collect(),
        slots: wanted().map(|v| plan.home[v.index()]).collect(),
        flops,
        bytes,
        us: None,
        kernels: Vec::new(),
    }
}

fn segment_name(segment: Segment) -> &'static str {
    match segment {
        Segment::Prepare => "when weights are loaded",
        Segment::Run => "each run",
        Segment::Apply => "each step",
    }
}

/// Colours of a graph's parts, in the order in which they come, told apart by those who see few as well (Okabe and Ito).
fn colours(nodes: &[Item]) -> BTreeMap<&str, &'static str> {
    const COLOURS: [&str; 7] = ["#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00"];
    let mut found = BTreeMap::new();
    for node in nodes {
        let next = COLOURS[found.len() % COLOURS.len()];
        found.entry(node.part.as_str()).or_insert(next);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::parts::{Part, build, model};
    use crate::error::Result;
    use crate::graph::prepare;
    use crate::infer::inspect::Stage;
    use crate::ops::rules;
    use crate::tensor::DType;
    use std::path::Path;

    pub fn tiny() -> Result<Drawing> {
        let mut drawing = Drawing::new("tiny <1>".to_owned());
        let graph = build(&model("escnet-tiny")?, Part::Inference(Stage::Classify), 1)?;
        drawing.add("classify, as written".to_owned(), &graph, 1);
        drawing.add("classify, fused".to_owned(), &prepare(graph, &rules(), DType::F32)?, 1);
        Ok(drawing)
    }

    #[test]
    fn nodes_read_what_others_made_before_them() -> Result<()> {
        let drawing = tiny()?;
        let [written, fused] = &drawing.graphs[..] else { panic!("two graphs") };
        assert!(written.nodes.len() > fused.nodes.len());
        for graph in [written, fused] {
            let mut readers = vec![0; graph.nodes.len()];
            for (n, node) in graph.nodes.iter().enumerate() {
                assert!(
                    node.reads.iter().all(|read| read.from.is_none_or(|from| from < n) && (read.from.is_some() || !read.name.is_empty())),
                    "{node:?}"
                );
                node.reads.iter().filter_map(|read| read.from).for_each(|from| readers[from] += 1);
            }
            let ends = readers.iter().filter(|&&n| n == 0).count();
            assert!(ends > 0 && ends < graph.nodes.len() / 4, "{ends} of {} are read by nobody", graph.nodes.len());
        }
        assert!(drawing.about["softmax"].starts_with("Softmax over the last dimension: `y_i = e^"), "{}", drawing.about["softmax"]);
        assert!(drawing.about.values().all(|about| about.len() > 20));
        assert_eq!(drawing.files.len(), drawing.about.len());
        assert!(drawing.files.values().all(|file| Path::new(env!("CARGO_MANIFEST_DIR")).join(file).is_file()), "{:?}", drawing.files);
        Ok(())
    }

    #[test]
    fn every_form_has_every_node() -> Result<()> {
        let drawing = tiny()?;
        let all: usize = drawing.graphs.iter().map(|graph| graph.nodes.len()).sum();
        let (dot, svg, html) = (dot(&drawing), svg(&drawing), html(&drawing));
        assert_eq!(dot.matches(" [label=").count(), all);
        assert_eq!(dot.matches("digraph ").count(), 2);
        assert_eq!(svg.matches("<g class=\"node\">").count(), all);
        assert!(svg.contains("tiny &lt;1&gt;") && !svg.contains("NaN") && svg.ends_with("</svg>\n"));
        let data =
            html.split("<script type=\"application/json\" id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap_or_default();
        let read: serde_json::Value = serde_json::from_str(data).map_err(|e| crate::Error::graph("page", "JSON", e))?;
        assert_eq!(read["graphs"][1]["nodes"].as_array().map(Vec::len), Some(drawing.graphs[1].nodes.len()));
        assert!(!html.contains("http://") && !html.contains("https://"), "the page needs nothing else");
        Ok(())
    }
}
