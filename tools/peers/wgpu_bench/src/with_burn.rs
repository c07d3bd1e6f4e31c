//! burn's side: its wgpu backend with fusion and autotune, as they come.
//!
//! Each tensor lies as burn likes it best: weights of a linear layer [k, n], pictures as [B, C, H, W] views of the same [B, H, W, C]
//! memory, heads as [B, H, L, D].

use crate::case::{Case, Host, Op, Pass, Subject};
use burn_tensor::module::{attention, conv2d, linear};
use burn_tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn_tensor::{Device, Tensor, TensorData};
use escnet::{Error, Result};
use std::time::Instant;

pub struct Burn {
    device: Device,
    case: Case,
    inputs: Vec<Tensor<4>>,
    results: Vec<Tensor<4>>,
}

/// burn's order of a picture's or a filter's dimensions, and back.
const CHANNELS_FIRST: [isize; 4] = [0, 3, 1, 2];
const CHANNELS_LAST: [isize; 4] = [0, 2, 3, 1];

fn failed(reason: impl ToString) -> Error {
    Error::Device { device: "burn".to_owned(), reason: reason.to_string() }
}

impl Burn {
    pub fn new(case: &Case, inputs: &[Host]) -> Result<Self> {
        let device = Device::wgpu(burn_tensor::DeviceKind::DefaultDevice);
        let place = |host: &Host| {
            let dims: [usize; 4] = match (case.op, host.shape[..].try_into()) {
                (_, Ok(dims)) => dims,
                (Op::Attention { length, heads, width }, _) => [1, length, heads, width],
                _ => [1, 1, host.shape[0], host.shape[1]],
            };
            let tensor = Tensor::<4>::from_data(TensorData::new(host.data.clone(), dims), &device);
            match (case.op, host.name) {
                (Op::Linear { .. }, "w") => contiguous(tensor.swap_dims(2, 3)),
                (Op::Linear { .. }, _) => tensor,
                (Op::Conv { .. }, _) => tensor.permute(CHANNELS_FIRST),
                (Op::Attention { .. }, _) => contiguous(tensor.swap_dims(1, 2)),
            }
        };
        let inputs: Vec<_> = inputs.iter().map(place).collect();
        device.sync().map_err(|e| failed(format!("{e:?}")))?;
        Ok(Burn { device, case: *case, inputs, results: Vec::new() })
    }

    fn sync(&self) -> Result<()> {
        self.device.sync().map_err(|e| failed(format!("{e:?}")))
    }
}

/// The same numbers in memory of their own, in the order of the dimensions.
fn contiguous(tensor: Tensor<4>) -> Tensor<4> {
    let (dims, device) = (tensor.dims(), tensor.device());
    let data = tensor.into_data().try_to_vec::<f32>().expect("f32 as it went in");
    Tensor::from_data(TensorData::new(data, dims), &device)
}

fn forward(case: &Case, inputs: &[Tensor<4>]) -> Tensor<4> {
    let input = |i: usize| inputs[i].clone();
    match case.op {
        Op::Linear { k, n, .. } => linear(input(0), input(1).reshape([k, n]), None),
        Op::Conv { kernel, .. } => conv2d(input(0), input(1), None, ConvOptions::new([1, 1], [kernel / 2; 2], [1, 1], 1)),
        Op::Attention { .. } => attention(input(0), input(1), input(2), None, None, AttentionModuleOptions::default()),
    }
}

impl Subject for Burn {
    fn time(&mut self) -> Result<f64> {
        self.results.clear();
        if self.case.pass == Pass::Forward {
            let start = Instant::now();
            self.results.push(forward(&self.case, &self.inputs));
            self.sync()?;
            return Ok(start.elapsed().as_secs_f64() * 1e3);
        }
        let (dy, of) = self.inputs.split_last().expect("a case with a backward pass has dy");
        let of: Vec<_> = of.iter().map(|x| x.clone().autodiff().require_grad()).collect();
        let mut start = Instant::now();
        let y = forward(&self.case, &of);
        if self.case.pass == Pass::Backward {
            self.sync()?;
            start = Instant::now();
        }
        // burn starts from a number, so dy comes in as its derivative: one more product and sum of y's size.
        let mut grads = (y.clone() * dy.clone().autodiff()).sum().backward();
        let of = of.iter().map(|x| x.grad_remove(&mut grads).ok_or_else(|| failed("no gradient"))).collect::<Result<Vec<_>>>()?;
        self.sync()?;
        let taken = start.elapsed();
        if self.case.pass == Pass::Both {
            self.results.push(y.without_autodiff());
        }
        self.results.extend(of);
        Ok(taken.as_secs_f64() * 1e3)
    }

    fn results(&mut self) -> Result<Vec<Vec<f32>>> {
        let back = |tensor: &Tensor<4>| {
            let tensor = tensor.clone();
            let tensor = match self.case.op {
                Op::Linear { .. } => tensor,
                Op::Conv { .. } => tensor.permute(CHANNELS_LAST),
                Op::Attention { .. } => tensor.swap_dims(1, 2),
            };
            tensor.into_data().try_to_vec::<f32>().map_err(|e| failed(format!("{e:?}")))
        };
        self.results.iter().map(back).collect()
    }
}
