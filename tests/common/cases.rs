//! Runs operator cases.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use escnet::TensorType;
use escnet::graph::{Builder, Options, Segment, Session, Source, Store, Value, gradients};
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use escnet::graph::{Graph, Node};
use escnet::ops::rules;
use escnet::ops::support::case::{Case, CaseInput, Fill};
#[cfg(feature = "cuda")]
use escnet::ops::{attention::Attention, conv2d::Conv2d, linear::Linear, matmul::MatMul};
use escnet::{DType, Device, Tensor};
use half::{bf16, f16};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt as _, SeedableRng};
use std::collections::BTreeMap;
#[cfg(feature = "cuda")]
use std::sync::LazyLock;

type Outcome = Result<(), String>;

/// The relative L2 error that f32 may have against f64 on one operator: the floor of the golden rules.
const LIMIT: f64 = 1e-5;
/// Of operators whose numbers are stored in bf16: the golden numbers' floor. f16 has three more bits.
const BF16_LIMIT: f64 = 2e-2;
const F16_LIMIT: f64 = BF16_LIMIT / 8.0;

/// Numbers by name: f64 for floating point, i32 for integers.
#[derive(Debug, Clone, PartialEq)]
enum Numbers {
    Floats(Vec<f64>),
    Ints(Vec<i32>),
}

fn normal(rng: &mut StdRng) -> f64 {
    let (u, v): (f64, f64) = (rng.random::<f64>().max(1e-300), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Rounded to what is stored, so that every device starts from the same numbers.
fn stored(x: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F16 => f16::from_f32(x as f32).to_f64(),
        DType::BF16 => bf16::from_f32(x as f32).to_f64(),
        _ => f64::from(x as f32),
    }
}

fn fill(input: &CaseInput, rng: &mut StdRng) -> Numbers {
    let n = input.ty.len();
    let floats = |values: Vec<f64>| Numbers::Floats(values.into_iter().map(|x| stored(x, input.ty.dtype)).collect());
    match &input.fill {
        Fill::Normal(mean, deviation) => floats((0..n).map(|_| mean + deviation * normal(rng)).collect()),
        Fill::Uniform(low, high) => floats((0..n).map(|_| low + (high - low) * rng.random::<f64>()).collect()),
        Fill::Distinct => {
            let step = (4.0 / n as f64).max(0.02);
            let mut values: Vec<f64> = (0..n).map(|i| step * (i as f64 - n as f64 / 2.0 + 0.5 + 0.2 * rng.random::<f64>())).collect();
            values.shuffle(rng);
            floats(values)
        }
        Fill::Ints(low, high) => Numbers::Ints((0..n).map(|_| rng.random_range(*low..*high)).collect()),
        Fill::PrefixMask => {
            let (rows, width) = input.ty.shape.rows_and_width();
            let lengths: Vec<usize> = (0..rows).map(|_| rng.random_range(1..=width)).collect();
            Numbers::Ints(lengths.iter().flat_map(|&l| (0..width).map(move |i| i32::from(i < l))).collect())
        }
        Fill::Exact(values) => Numbers::Ints(values.clone()),
        Fill::Values(values) => floats(values.clone()),
    }
}

/// A case's graph with cotangents for its floating-point results and gradients of its inputs, and the numbers for all of it.
struct Problem {
    graph: escnet::graph::Graph,
    inputs: BTreeMap<String, Numbers>,
    states: BTreeMap<String, Numbers>,
    results: Vec<String>,
    grads: Vec<String>,
    limit: f64,
}

fn problem(stem: &str, case: &Case, with_gradients: bool) -> Result<Problem, String> {
    let seed = stem.bytes().chain(case.name.bytes()).fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut inputs, mut states) = (BTreeMap::new(), BTreeMap::new());
    for input in &case.inputs {
        let numbers = fill(input, &mut rng);
        if input.state {
            states.insert(input.name.to_owned(), numbers)
        } else {
            inputs.insert(input.name.to_owned(), numbers)
        };
    }
    let (mut builder, values, results) = case.graph().map_err(|e| e.to_string())?;
    let mut names: Vec<String> = results.iter().map(|(n, _)| (*n).to_owned()).collect();
    let mut grads = Vec::new();
    let wrt: Vec<(&CaseInput, Value)> = case.inputs.iter().zip(&values).filter(|(i, _)| i.gradient).map(|(i, v)| (i, *v)).collect();
    if with_gradients && !wrt.is_empty() {
        let seeds = cotangents(&mut builder, &results, &mut inputs, &mut rng)?;
        let found = gradients(&mut builder, &rules(), &seeds, &wrt.iter().map(|(_, v)| *v).collect::<Vec<_>>()).map_err(|e| e.to_string())?;
        for ((input, _), grad) in wrt.iter().zip(found) {
            let name = format!("grad.{}", input.name);
            builder.output(&name, grad.ok_or_else(|| format!("no gradient of {}", input.name))?);
            grads.push(name);
        }
    }
    names.extend(case.inputs.iter().filter(|i| i.state).map(|i| format!("state.{}", i.name)));
    let graph = builder.finish();
    // A cast to bf16 is exact, and held to that.
    let is_bf16 = case.inputs.iter().any(|i| i.ty.dtype == DType::BF16);
    let is_f16 = graph.values().any(|(_, info)| info.ty.dtype == DType::F16);
    let limit = if is_bf16 {
        BF16_LIMIT
    } else if is_f16 {
        F16_LIMIT
    } else {
        LIMIT
    };
    Ok(Problem { graph, inputs, states, results: names, grads, limit })
}

fn cotangents(
    builder: &mut Builder,
    results: &[(&'static str, Value)],
    inputs: &mut BTreeMap<String, Numbers>,
    rng: &mut StdRng,
) -> Result<Vec<(Value, Value)>, String> {
    let mut seeds = Vec::new();
    for (name, value) in results {
        let ty = builder.ty(*value);
        let made = matches!(builder.graph().info(*value).source, Source::Node);
        if ty.dtype.is_float() && made {
            let name = format!("cot.{name}");
            seeds.push((*value, builder.input(&name, ty).map_err(|e| e.to_string())?));
            inputs.insert(name, Numbers::Floats((0..ty.len()).map(|_| stored(normal(rng), ty.dtype)).collect()));
        }
    }
    Ok(seeds)
}

/// A session that can be run again and again on the same or on other inputs.
struct Run {
    session: Session,
    store: Store,
}

impl Run {
    fn new(problem: &Problem, device: &Device, checked: bool) -> escnet::Result<Self> {
        let mut store = Store::new(device);
        let session = Session::new(problem.graph.clone(), &mut store, Options { checked, apart: true, ..Options::default() })?;
        Ok(Run { session, store })
    }

    fn run(&mut self, problem: &Problem, inputs: &BTreeMap<String, Numbers>) -> escnet::Result<BTreeMap<String, Numbers>> {
        for (name, numbers) in inputs {
            match numbers {
                Numbers::Floats(v) => self.session.write_f64(name, v)?,
                Numbers::Ints(v) => {
                    let shape = self.session.graph().named(name).map(|v| self.session.graph().ty(v).shape);
                    self.session.write(name, &Tensor::from_i32(shape.unwrap_or([v.len()].into()), v.clone())?)?;
                }
            }
        }
        for (name, numbers) in &problem.states {
            match numbers {
                Numbers::Floats(v) => self.store.write_f64(name, v)?,
                Numbers::Ints(v) => {
                    let shape = self.store.read(name)?.shape();
                    self.store.write(name, &Tensor::from_i32(shape, v.clone())?)?;
                }
            }
        }
        self.session.run(&mut self.store, Segment::Run)?;
        let mut results = BTreeMap::new();
        for name in problem.results.iter().chain(&problem.grads) {
            let (tensor, wide) = match name.strip_prefix("state.") {
                Some(state) => (self.store.read(state)?, self.store.read_f64(state)?),
                None => (self.session.read(name, &mut self.store)?, self.session.read_f64(name, &self.store)?),
            };
            results.insert(name.clone(), tensor.as_i32().map_or(Numbers::Floats(wide), |v| Numbers::Ints(v.to_vec())));
        }
        Ok(results)
    }
}

fn norm(v: impl Iterator<Item = f64>) -> f64 {
    v.map(|x| x * x).sum::<f64>().sqrt()
}

/// f32 on the CPU against f64; poisoned, guarded; bit-equal on repeat and on 1 and 3 threads.
pub fn against_f64(stem: &str, case: &Case) -> Outcome {
    let problem = problem(stem, case, true)?;
    let run = |device: Device, checked: bool| -> escnet::Result<_> {
        let mut run = Run::new(&problem, &device, checked)?;
        let first = run.run(&problem, &problem.inputs)?;
        Ok((first, run.run(&problem, &problem.inputs)?))
    };
    let text = |e: escnet::Error| e.to_string();
    let (truth, again) = run(Device::reference().map_err(text)?, true).map_err(text)?;
    let (one, repeated) = run(Device::cpu(1).map_err(text)?, true).map_err(text)?;
    let (three, _) = run(Device::cpu(3).map_err(text)?, false).map_err(text)?;
    for (name, want) in &case.expected {
        let got = truth.get(*name).or_else(|| truth.get(&format!("state.{name}"))).ok_or_else(|| format!("{name}: no such result"))?;
        let got: Vec<f64> = match got {
            Numbers::Floats(v) => v.clone(),
            Numbers::Ints(v) => v.iter().map(|&x| x.into()).collect(),
        };
        // Inputs are rounded to f32, and so may be the numbers that were written down.
        if got.len() != want.len() || !got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-6 * w.abs().max(1e-3)) {
            return Err(format!("{name}: expected {want:?}, got {got:?}"));
        }
    }
    for (name, want) in &truth {
        if same_bits(&again[name], want) && same_bits(&repeated[name], &one[name]) && same_bits(&three[name], &one[name]) {
        } else {
            return Err(format!("{name}: not bit-equal on repeat or for another number of threads"));
        }
    }
    within_limit(&problem, &truth, &one)
}

/// Every result within the limit of its f64 value.
fn within_limit(problem: &Problem, truth: &BTreeMap<String, Numbers>, found: &BTreeMap<String, Numbers>) -> Outcome {
    let whole = norm(problem.inputs.iter().filter(|(k, _)| k.starts_with("cot.")).flat_map(|(_, v)| match v {
        Numbers::Floats(v) => v.clone(),
        Numbers::Ints(_) => Vec::new(),
    }));
    for (name, want) in truth {
        match (want, &found[name]) {
            (Numbers::Ints(want), Numbers::Ints(got)) if want == got => {}
            (Numbers::Floats(want), Numbers::Floats(got)) => {
                if !want.iter().all(|x| x.is_finite()) {
                    return Err(format!("{name}: the f64 reference left NaN or infinity"));
                }
                let size = norm(want.iter().copied());
                let measure = if size < 1e-7 * whole { whole } else { size };
                let error = norm(want.iter().zip(got).map(|(w, g)| w - g));
                if error.is_nan() || error > problem.limit * measure {
                    return Err(format!("{name}: relative error {:.2e}, limit {:.0e}", error / measure, problem.limit));
                }
            }
            (want, got) => return Err(format!("{name}: expected {want:?}, got {got:?}")),
        }
    }
    Ok(())
}

/// The same case with its numbers stored as this type.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub fn stored_as(case: &Case, dtype: DType) -> Case {
    let mut half = case.clone();
    half.inputs.iter_mut().filter(|i| i.ty.dtype.is_float()).for_each(|i| i.ty = TensorType::new(dtype, i.ty.shape));
    half
}

/// True where the case has a value of this element type.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub fn holds(case: &Case, dtype: DType) -> bool {
    case.graph().is_ok_and(|(builder, ..)| builder.graph().values().any(|(_, info)| info.ty.dtype == dtype))
}

/// On a GPU against f64, which rounds where numbers are stored in 16 bits; poisoned, guarded; bit-equal on repeat, and recorded anew.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub fn on_gpu(stem: &str, case: &Case, device: &Device) -> Outcome {
    kernels_of(stem, case, device).map(drop)
}

/// The same; gives the names of the kernels that ran.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn kernels_of(stem: &str, case: &Case, device: &Device) -> Result<Vec<String>, String> {
    let text = |e: escnet::Error| e.to_string();
    let problem = problem(stem, case, true)?;
    let truth = Run::new(&problem, &Device::reference().map_err(text)?, false).and_then(|mut r| r.run(&problem, &problem.inputs)).map_err(text)?;
    let mut checked = Run::new(&problem, device, true).map_err(text)?;
    let first = checked.run(&problem, &problem.inputs).map_err(text)?;
    let again = checked.run(&problem, &problem.inputs).map_err(text)?;
    let anew = Run::new(&problem, device, false).and_then(|mut r| r.run(&problem, &problem.inputs)).map_err(text)?;
    if let Some(name) = first.keys().find(|n| !same_bits(&first[*n], &again[*n]) || !same_bits(&first[*n], &anew[*n])) {
        return Err(format!("{name}: not bit-equal on repeat"));
    }
    within_limit(&problem, &truth, &first)?;
    Ok(checked.session.times().map_err(text)?.into_iter().flat_map(|node| node.kernels).map(|kernel| kernel.name()).collect())
}

/// The case as this variant takes it, where the device has it and its tensors fit: those of warpgroups are for compute capability 9.0 and lines of multiples of
/// 16 bytes; those of attention for heads of multiples of 8 columns, as many as their names tell at most; what is for few rows, for these by a transposed factor,
/// as no gradients are.
#[cfg(feature = "cuda")]
pub fn for_variant(case: &Case, variant: &str) -> Option<Case> {
    let (builder, ..) = case.graph().ok()?;
    let graph = builder.graph();
    if variant == "skinny" {
        return graph.nodes().iter().all(|node| is_skinny(node, graph)).then(|| case.clone().without_gradients());
    }
    let fits = |ty: TensorType| !ty.is_empty() && ty.shape.last().is_some_and(|width| (width * ty.dtype.size()).is_multiple_of(16));
    let all_fit = || graph.values().all(|(_, info)| fits(info.ty));
    let is_wgmma = variant.starts_with("wgmma");
    let has = match (variant.trim_start_matches("wg").strip_prefix("mma"), head_size(graph)) {
        (Some(columns), Some(size)) => size.is_multiple_of(8) && columns.parse().is_ok_and(|most: usize| size <= most),
        _ => !is_wgmma || all_fit(),
    };
    static IS_HOPPER: LazyLock<bool> = LazyLock::new(|| escnet::device::cuda::adapters().first().is_some_and(|adapter| adapter.arch == 90));
    (has && (!is_wgmma || *IS_HOPPER)).then(|| case.clone())
}

/// Whether this is a product of up to 16 rows whose factors both lie along what is summed over.
#[cfg(feature = "cuda")]
fn is_skinny(node: &Node, graph: &Graph) -> bool {
    let result = graph.ty(node.outputs[0]).shape;
    match (node.op.downcast::<Linear>(), node.op.downcast::<MatMul>()) {
        (Some(_), _) => result.rows_and_width().0 <= 16,
        (_, Some(MatMul { transpose_a: false, transpose_b: true })) => result.iter().nth_back(1).is_some_and(|rows| *rows <= 16),
        _ => false,
    }
}

/// Columns of a head, in a case of attention.
#[cfg(feature = "cuda")]
fn head_size(graph: &Graph) -> Option<usize> {
    graph.nodes().iter().find_map(|node| {
        let attention = node.op.downcast::<Attention>()?;
        let types: Vec<TensorType> = node.inputs.iter().map(|&input| graph.ty(input)).collect();
        Some(attention.form.extents(&types).size)
    })
}

/// The same on CUDA with a variant that the operator is made to use, and used by each of its kernels that has a form of it.
#[cfg(feature = "cuda")]
pub fn on_variant(row: &escnet::ops::Row, case: &Case, variant: &'static str) -> Outcome {
    let device = Device::cuda_with(None, variant).map_err(|e| e.to_string())?;
    let kernels = kernels_of(row.stem, case, &device)?;
    let form = |kernel: &str| {
        // <op>_<pass>[_<variant>]_<dtype>; what is exact has no variant in its name.
        let plain = row.variants.iter().fold(kernel.to_owned(), |name, other| name.replace(&format!("_{other}_"), "_"));
        let (pass, dtype) = plain.rsplit_once('_').unwrap_or((&plain, ""));
        if variant == "exact" { plain.clone() } else { format!("{pass}_{variant}_{dtype}") }
    };
    let others: Vec<&String> = kernels.iter().filter(|&kernel| form(kernel) != *kernel && is_compiled(&form(kernel))).collect();
    // What has no elements launches nothing.
    let is_used = variant == "exact" || kernels.is_empty() || kernels.iter().any(|kernel| form(kernel) == *kernel);
    let write_zeros = || others.len() == untouched(case) && others.iter().all(|kernel| kernel.starts_with("conv2d_backward_input_"));
    if is_used && (others.is_empty() || write_zeros()) { Ok(()) } else { Err(format!("not by {variant}: {others:?} of {kernels:?}")) }
}

/// Phases of a strided convolution's pixels that no tap of its filters meets. What writes their gradient's zeros multiplies nothing, and is exact.
#[cfg(feature = "cuda")]
fn untouched(case: &Case) -> usize {
    let Ok((builder, ..)) = case.graph() else { return 0 };
    let graph = builder.graph();
    let of = |node: &Node| {
        let (stride, filters) = (node.op.downcast::<Conv2d>()?.stride, graph.ty(node.inputs[1]).shape);
        Some(stride * stride - filters[1].min(stride) * filters[2].min(stride))
    };
    graph.nodes().iter().filter_map(of).sum()
}

/// Whether the images have a kernel of this name.
#[cfg(feature = "cuda")]
fn is_compiled(kernel: &str) -> bool {
    static KERNELS: std::sync::LazyLock<std::collections::BTreeSet<String>> = std::sync::LazyLock::new(|| {
        let manifest: serde_json::Value =
            serde_json::from_str(include_str!("../../kernels/images/manifest.json")).expect("what `kernels build` wrote");
        let images = manifest["images"].as_object().expect("images").values();
        images.flat_map(|image| image["kernels"].as_object().expect("kernels").keys().cloned()).collect()
    });
    KERNELS.contains(kernel)
}

/// The case as this variant through wgpu takes it, where its tensors fit: those for large products want fours on both sides of every product, which are channels
/// and the like; `rows` is for up to four rows, as no gradients are.
#[cfg(feature = "wgpu")]
pub fn for_wgpu_variant(case: &Case, variant: &str) -> Option<Case> {
    let (builder, ..) = case.graph().ok()?;
    let graph = builder.graph();
    match variant {
        "scalars" | "tiles16x64" | "tiles64x16" | "tiles32x32" => Some(case.clone()),
        "rows" => graph.nodes().iter().filter_map(|node| rows_of(node, graph)).all(|rows| rows <= 4).then(|| case.clone().without_gradients()),
        _ => graph.values().all(|(_, info)| info.ty.shape.last().is_some_and(|width| width.is_multiple_of(4))).then(|| case.clone()),
    }
}

/// Rows of the product that a node is, if it is one.
#[cfg(feature = "wgpu")]
fn rows_of(node: &Node, graph: &Graph) -> Option<usize> {
    let result = graph.ty(node.outputs[0]).shape;
    match node.op.stem() {
        "matmul" => result.iter().nth_back(1).copied(),
        "linear" | "conv2d" => Some(result.rows_and_width().0),
        _ => None,
    }
}

/// The same on a GPU through wgpu with a variant that the operator is made to use, and used by each of its products.
#[cfg(feature = "wgpu")]
pub fn on_wgpu_variant(row: &escnet::ops::Row, case: &Case, variant: &str, device: &Device) -> Outcome {
    let kernels = kernels_of(row.stem, case, device)?;
    let own = kernels.iter().filter(|kernel| kernel.starts_with(row.stem));
    let products: Vec<&str> = own.filter_map(|kernel| row.wgpu_variants.iter().find(|v| kernel.contains(&format!("_{v}_"))).copied()).collect();
    let is_used = !products.is_empty() && products.iter().all(|used| *used == variant);
    if is_used { Ok(()) } else { Err(format!("not by {variant}: {kernels:?}")) }
}

/// Where sums are taken in another order when a tensor is cut: in products, whose tiles depend on the rows there are, in sums over pieces, and in sums
/// over rows that do not end where a binding may begin, whose parts are shorter then.
#[cfg(feature = "wgpu")]
fn is_in_other_order(stem: &str, case: &Case, result: &str) -> bool {
    match stem {
        "batchnorm" | "broadcast_add" | "reduce" => !case.inputs[0].ty.shape.last().is_some_and(|width| width.is_multiple_of(64)),
        "conv2d" | "linear" | "matmul" | "cross_entropy" => true,
        "embedding" | "gather" => result.starts_with("grad."),
        _ => false,
    }
}

/// The same on a GPU that sees no more than half of the case's largest tensor at once: within the limits of f64, and the bits of the GPU that sees all
/// of it. Gives the labels of all nodes that launch something, and whether each was told in pieces; none where the case has tensors that are too small,
/// or that cannot be cut there.
#[cfg(feature = "wgpu")]
pub fn in_pieces(stem: &str, case: &Case) -> Result<Vec<(String, bool)>, String> {
    use escnet::device::wgpu::Abilities;
    let text = |e: escnet::Error| e.to_string();
    let problem = problem(stem, case, true)?;
    let largest = problem.graph.values().map(|(_, info)| info.ty.bytes()).max().unwrap_or(0);
    if largest < 1024 {
        return Ok(Vec::new());
    }
    let binding = (largest / 2).next_multiple_of(256) as u64;
    let device = Device::wgpu_with(None, Abilities { binding, ..Abilities::ALL }).map_err(text)?;
    let run = |device: &Device, checked: bool| Run::new(&problem, device, checked).and_then(|mut r| Ok((r.run(&problem, &problem.inputs)?, r)));
    let (found, mut cut) = match run(&device, true) {
        Err(escnet::Error::Op { got, .. }) if got.contains("smaller --batch") => return Ok(Vec::new()),
        other => other.map_err(text)?,
    };
    let (whole, mut uncut) = run(&super::gpu().map_err(text)?, false).map_err(text)?;
    let again = cut.run(&problem, &problem.inputs).map_err(text)?;
    let (truth, _) = run(&Device::reference().map_err(text)?, false).map_err(text)?;
    within_limit(&problem, &truth, &found)?;
    for (name, got) in &found {
        if !same_bits(got, &again[name]) {
            return Err(format!("{name}: not bit-equal on repeat"));
        }
        if !is_in_other_order(stem, case, name) && !same_bits(got, &whole[name]) {
            return Err(format!("{name}: not the bits of the whole"));
        }
    }
    let (cut, uncut) = (cut.session.times().map_err(text)?, uncut.session.times().map_err(text)?);
    let launched = cut.into_iter().zip(uncut).filter(|(_, uncut)| !uncut.kernels.is_empty());
    Ok(launched.map(|(cut, uncut)| (cut.label, cut.kernels.len() > uncut.kernels.len())).collect())
}

fn same_bits(a: &Numbers, b: &Numbers) -> bool {
    match (a, b) {
        (Numbers::Floats(a), Numbers::Floats(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()),
        (a, b) => a == b,
    }
}

/// The f64 gradients against central differences: of single elements, and along random directions that touch every element.
pub fn finite_differences(stem: &str, case: &Case) -> Outcome {
    let problem = problem(stem, case, true)?;
    let text = |e: escnet::Error| e.to_string();
    let mut run = Run::new(&problem, &Device::reference().map_err(text)?, false).map_err(text)?;
    let analytic = run.run(&problem, &problem.inputs).map_err(text)?;
    let mut rng = StdRng::seed_from_u64(1);
    let mut loss = |inputs: &BTreeMap<String, Numbers>| -> Result<f64, String> {
        let results = run.run(&problem, inputs).map_err(text)?;
        let mut sum = 0.0;
        for (name, cotangent) in inputs {
            if let (Some(name), Numbers::Floats(cotangent)) = (name.strip_prefix("cot."), cotangent)
                && let Some(Numbers::Floats(result)) = results.get(name)
            {
                sum += result.iter().zip(cotangent).map(|(r, c)| r * c).sum::<f64>();
            }
        }
        Ok(sum)
    };
    for name in &problem.grads {
        let input = name.trim_start_matches("grad.");
        let (Numbers::Floats(x), Numbers::Floats(grad)) = (&problem.inputs[input], &analytic[name]) else {
            return Err(format!("{name}: not floating point"));
        };
        if x.is_empty() {
            continue;
        }
        let mut directions: Vec<Vec<f64>> = (0..2).map(|_| x.iter().map(|_| normal(&mut rng)).collect()).collect();
        for _ in 0..4 {
            let mut one = vec![0.0; x.len()];
            one[rng.random_range(0..x.len())] = 1.0;
            directions.push(one);
        }
        for direction in directions {
            // Small enough that no element of `Fill::Distinct` meets another, or 0.
            let h = 1e-3 / direction.iter().fold(1.0f64, |m, d| m.max(d.abs()));
            let mut at = |t: f64| {
                let mut moved = problem.inputs.clone();
                moved.insert(input.to_owned(), Numbers::Floats(x.iter().zip(&direction).map(|(x, d)| x + t * d).collect()));
                loss(&moved)
            };
            // Fourth-order central difference.
            let numeric = (8.0 * (at(h)? - at(-h)?) - (at(2.0 * h)? - at(-2.0 * h)?)) / (12.0 * h);
            let along: f64 = grad.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let scale = norm(grad.iter().copied()) * norm(direction.iter().copied());
            let error = (numeric - along).abs();
            if error.is_nan() || error > 1e-6 * scale.max(1e-3) {
                return Err(format!("{name}: analytic {along:.9e}, finite difference {numeric:.9e}, scale {scale:.3e}"));
            }
        }
    }
    Ok(())
}
