//! A graph of a model with numbers at random in all of its tensors.

use crate::device::Device;
use crate::error::Result;
use crate::graph::{Graph, Options, Session, StateKind, Store};
use crate::model::config::EscnetConfig;
use crate::ops::support::case::Fill;
use crate::ops::support::draws::Draws;
use crate::tensor::{DType, Tensor, TensorType};

/// A session of it on a device, inputs and state written: ids and labels within what the model has, masks of ones. The same numbers each time.
///
/// # Errors
/// Those of the device.
pub fn filled(graph: Graph, config: &EscnetConfig, device: &Device, options: Options) -> Result<(Store, Session)> {
    let mut store = Store::new(device);
    let mut session = Session::new(graph, &mut store, options)?;
    let inputs: Vec<(String, TensorType)> = session.graph().inputs().map(|(_, info)| (info.name.clone(), info.ty)).collect();
    for (name, ty) in inputs {
        session.write(&name, &numbers(config, &name, &ty)?)?;
    }
    let states: Vec<(String, TensorType, StateKind)> = session.graph().states().map(|(_, info, kind)| (info.name.clone(), info.ty, kind)).collect();
    for (name, ty, kind) in states {
        match kind {
            StateKind::Derived => {}
            StateKind::Parameter => store.write(&name, &Draws::new(&name).tensor(&ty, &parameter(&name, &ty))?)?,
            // Keys and values of words before this one: what is computed with is no zero.
            StateKind::Cache if ty.dtype != DType::I32 => store.write(&name, &Draws::new(&name).tensor(&ty, &Fill::Normal(0.0, 1.0))?)?,
            StateKind::Statistic if name.ends_with("mean") => store.write(&name, &Draws::new(&name).tensor(&ty, &Fill::Normal(0.0, 0.1))?)?,
            StateKind::Statistic => store.write(&name, &Draws::new(&name).tensor(&ty, &Fill::Uniform(0.5, 2.0))?)?,
            _ => store.write(&name, &numbers(config, &name, &ty)?)?,
        }
    }
    Ok((store, session))
}

/// As networks are initialised, so that what goes through layers stays near 1, neither vanishing nor beyond what a half can hold: products of n numbers by
/// 1 / sqrt(n), norms' weights around 1.
fn parameter(name: &str, ty: &TensorType) -> Fill {
    match &ty.shape[..] {
        [] | [_] if name.ends_with("weight") => Fill::Uniform(0.5, 1.5),
        [] | [_] => Fill::Normal(0.0, 0.1),
        [rows, ..] => Fill::Normal(0.0, (*rows as f64 / ty.len().max(1) as f64).sqrt()),
    }
}

fn numbers(config: &EscnetConfig, name: &str, ty: &TensorType) -> Result<Tensor> {
    let below = |n: usize| Fill::Ints(0, n.max(1) as i32);
    let fill = match (ty.dtype, name) {
        (DType::I32, "labels") => below(config.classes.len()),
        (DType::I32, name) if name.contains("mask") => Fill::Ints(1, 2),
        (DType::I32, name) if name.ends_with("ids") || name.ends_with("labels") => {
            below(config.captioner.text_config.vocab_size.min(config.text_encoder.vocab_size))
        }
        (DType::I32, _) => Fill::Ints(0, 1),
        (_, "word_affect") => Fill::Uniform(0.0, 1.0),
        (_, name) if name.contains("image") || ["features", "text"].contains(&name) => Fill::Normal(0.0, 1.0),
        // Moments start at 0 as they do in a new run; a denominator or a rate may not.
        (_, name) if name.starts_with("loss.") || name.starts_with("optimizer.") => Fill::Uniform(0.5, 1.0),
        _ => return Ok(Tensor::zeros(*ty)),
    };
    Draws::new(name).tensor(ty, &fill)
}
