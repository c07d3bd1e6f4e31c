//! Cases: small graphs that feed the tests, the gradient checks and the benchmarks of every operator on every device.

use crate::error::{Error, Result};
use crate::graph::{Builder, StateKind, Value};
use crate::tensor::{Shape, TensorType};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The numbers an input is filled with. All are drawn from the case's own seed.
#[derive(Debug, Clone, PartialEq)]
pub enum Fill {
    /// Normal, with this mean and standard deviation.
    Normal(f64, f64),
    /// Uniform between two bounds.
    Uniform(f64, f64),
    /// Distinct numbers in random order, at least 0.01 apart and away from 0: no ties, no kinks within a finite difference.
    Distinct,
    /// Integers from the first bound up to, not including, the second.
    Ints(i32, i32),
    /// A row-major mask [.., L]: each row starts with 1 to L ones, the rest is 0.
    PrefixMask,
    /// These integers.
    Exact(Vec<i32>),
    /// These numbers.
    Values(Vec<f64>),
}

/// One input of a case.
#[derive(Debug, Clone)]
pub struct CaseInput {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: TensorType,
    /// Its numbers.
    pub fill: Fill,
    /// It is state: read back as a result after the run.
    pub state: bool,
    /// Its gradient is checked.
    pub gradient: bool,
}

/// Appends the operator under test to the graph; gives the results by name.
pub type Build = Arc<dyn Fn(&mut Builder, &[Value]) -> Result<Vec<(&'static str, Value)>> + Send + Sync>;

/// A case's graph: its builder, the inputs, and the results by name.
pub type CaseGraph = (Builder, Vec<Value>, Vec<(&'static str, Value)>);

/// One operator with fixed attributes on inputs of fixed shapes.
#[derive(Clone)]
pub struct Case {
    /// Unique within the operator: shapes and attributes in short.
    pub name: String,
    /// What goes in.
    pub inputs: Vec<CaseInput>,
    /// What is built on them.
    pub build: Build,
    /// What must come out, known from elsewhere: (result or state, numbers).
    pub expected: Vec<(&'static str, Vec<f64>)>,
    /// Large: left out of the finite differences and the f64 comparison of every element's gradient; for benchmarks.
    pub large: bool,
}

impl Case {
    /// A case without inputs yet.
    pub fn new(
        name: impl Into<String>,
        build: impl Fn(&mut Builder, &[Value]) -> Result<Vec<(&'static str, Value)>> + Send + Sync + 'static,
    ) -> Self {
        Case { name: name.into(), inputs: Vec::new(), build: Arc::new(build), expected: Vec::new(), large: false }
    }

    /// A case of one result, `y`.
    pub fn of(name: impl Into<String>, build: impl Fn(&mut Builder, &[Value]) -> Result<Value> + Send + Sync + 'static) -> Self {
        Self::new(name, move |b, v| Ok(vec![("y", build(b, v)?)]))
    }

    fn with(mut self, name: &'static str, ty: TensorType, fill: Fill, state: bool, gradient: bool) -> Self {
        self.inputs.push(CaseInput { name, ty, fill, state, gradient });
        self
    }

    /// Adds a standard normal f32 input whose gradient is checked.
    pub fn normal(self, name: &'static str, shape: impl Into<Shape>) -> Self {
        self.with(name, TensorType::f32(shape), Fill::Normal(0.0, 1.0), false, true)
    }

    /// Adds an f32 input filled as told, whose gradient is checked.
    pub fn float(self, name: &'static str, shape: impl Into<Shape>, fill: Fill) -> Self {
        self.with(name, TensorType::f32(shape), fill, false, true)
    }

    /// Adds an f32 input filled as told, without a gradient.
    pub fn fixed(self, name: &'static str, shape: impl Into<Shape>, fill: Fill) -> Self {
        self.with(name, TensorType::f32(shape), fill, false, false)
    }

    /// Adds an i32 input filled as told.
    pub fn ints(self, name: &'static str, shape: impl Into<Shape>, fill: Fill) -> Self {
        self.with(name, TensorType::i32(shape), fill, false, false)
    }

    /// Adds state filled as told; what it holds after the run is a result.
    pub fn state(self, name: &'static str, ty: TensorType, fill: Fill) -> Self {
        self.with(name, ty, fill, true, false)
    }

    /// Says what a result, or state after the run, must be: numbers worked out by hand or by PyTorch, for operators without a golden file.
    pub fn expects(mut self, name: &'static str, numbers: Vec<f64>) -> Self {
        self.expected.push((name, numbers));
        self
    }

    /// The same without gradients, where their finite differences would take long and other cases have them.
    pub fn without_gradients(mut self) -> Self {
        self.inputs.iter_mut().for_each(|input| input.gradient = false);
        self
    }

    /// Marks the case as one for benchmarks.
    pub fn large(mut self) -> Self {
        self.large = true;
        self
    }

    /// The case's graph: its builder, inputs and results. State goes by its input's name.
    ///
    /// # Errors
    /// Those of the operator's shape rule.
    pub fn graph(&self) -> Result<CaseGraph> {
        let mut builder = Builder::new();
        let mut inputs = Vec::new();
        for input in &self.inputs {
            inputs.push(if input.state {
                builder.global_state(input.name, input.ty, StateKind::Cache)?
            } else {
                builder.input(input.name, input.ty)?
            });
        }
        let results = (self.build)(&mut builder, &inputs)?;
        for (name, value) in &results {
            builder.output(name, *value);
        }
        Ok((builder, inputs, results))
    }
}

/// One case of a golden operator file: its attributes, and the types of its inputs by name.
pub struct Golden<'a> {
    /// `<case>`
    pub name: &'a str,
    /// The case's entry in the metadata key `cases`.
    pub attributes: &'a serde_json::Value,
    /// The types of `in.<name>`.
    pub inputs: &'a [(String, TensorType)],
}

impl Golden<'_> {
    /// The type of an input, where the case has it.
    pub fn ty(&self, name: &str) -> Option<TensorType> {
        self.inputs.iter().find(|(n, _)| n == name).map(|(_, ty)| *ty)
    }

    /// The extents of an input.
    ///
    /// # Errors
    /// [`Error::Graph`] where the case lacks it.
    pub fn shape(&self, name: &str) -> Result<Shape> {
        self.ty(name).map(|ty| ty.shape).ok_or_else(|| self.lacks(&format!("in.{name}")))
    }

    /// A number among the attributes.
    ///
    /// # Errors
    /// [`Error::Graph`] where the case lacks it.
    pub fn number(&self, key: &str) -> Result<f64> {
        self.attributes.get(key).and_then(serde_json::Value::as_f64).ok_or_else(|| self.lacks(key))
    }

    /// A count among the attributes.
    ///
    /// # Errors
    /// [`Error::Graph`] where the case lacks it.
    pub fn count(&self, key: &str) -> Result<usize> {
        self.attributes.get(key).and_then(serde_json::Value::as_u64).map(|n| n as usize).ok_or_else(|| self.lacks(key))
    }

    /// A switch among the attributes.
    ///
    /// # Errors
    /// [`Error::Graph`] where the case lacks it.
    pub fn flag(&self, key: &str) -> Result<bool> {
        self.attributes.get(key).and_then(serde_json::Value::as_bool).ok_or_else(|| self.lacks(key))
    }

    /// A word among the attributes, as the kind that it names.
    ///
    /// # Errors
    /// [`Error::Graph`] where the case lacks it, or names no such kind.
    pub fn kind<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        self.attributes.get(key).and_then(|word| T::deserialize(word).ok()).ok_or_else(|| self.lacks(key))
    }

    fn lacks(&self, what: &str) -> Error {
        Error::graph(self.name, format!("`{what}` in the golden case"), "none")
    }
}

/// Builds a golden case: gets the inputs as the file has them, in PyTorch's layouts, in the file's order of `Golden::inputs`; gives
/// the results under the file's names, in PyTorch's layouts.
pub type GoldenBuild = fn(&Golden, &mut Builder, &dyn Fn(&str) -> Result<Value>) -> Result<Vec<(&'static str, Value)>>;
