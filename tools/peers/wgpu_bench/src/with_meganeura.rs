//! meganeura's side: inference sessions, tuned, whose graphs hold the gradients' own operators where there is a backward pass.
//!
//! Weights of a linear layer are [k, n], pictures [B, C, H, W] and filters [O, C, KH, KW], as its operators take them.

use crate::case::{Case, Host, Op, Pass, Subject};
use escnet::{Result, Shape, Tensor};
use meganeura::graph::{Op as Raw, TensorType};
use meganeura::train::Mode;
use meganeura::{Graph, Session, SessionConfig};
use std::time::Instant;

pub struct Meganeura {
    session: Session,
    /// Shapes of the results as they lie in its memory.
    shapes: Vec<Vec<usize>>,
    conv: bool,
}

impl Meganeura {
    pub fn new(case: &Case, inputs: &[Host]) -> Result<Self> {
        let mut g = Graph::new();
        let conv = matches!(case.op, Op::Conv { .. });
        let mut nodes = Vec::new();
        let mut tensors = Vec::new();
        for host in inputs {
            let tensor = Tensor::from_f32(Shape::new(&host.shape)?, host.data.clone())?;
            let (tensor, shape) = match case.op {
                Op::Linear { k, n, .. } if host.name == "w" => (tensor.permute(&[1, 0])?, vec![k, n]),
                Op::Linear { .. } => (tensor, host.shape.clone()),
                Op::Conv { .. } => (tensor.permute(&[0, 3, 1, 2])?, vec![host.data.len()]),
                Op::Attention { .. } => (tensor, host.shape[1..].to_vec()),
            };
            // Only of parameters does it know that they may be rearranged beforehand.
            nodes.push(if host.name == "w" { g.parameter("w", &shape) } else { g.input(host.name, &shape) });
            tensors.push(tensor);
        }
        let at = |i: usize| nodes[i];
        let shapes_of = |i: usize| inputs[i].shape.clone();
        let (outputs, shapes) = match (case.op, case.pass) {
            (Op::Linear { m, n, .. }, Pass::Forward) => (vec![g.matmul(at(0), at(1))], vec![vec![m, n]]),
            (Op::Conv { size, i, o, kernel }, pass) => {
                let (s, i, o, k, p) = (size as u32, i as u32, o as u32, kernel as u32, kernel as u32 / 2);
                let first = |shape: Vec<usize>| vec![shape[0], shape[3], shape[1], shape[2]];
                match pass {
                    Pass::Forward => (vec![g.conv2d(at(0), at(1), 1, i, s, s, o, k, k, 1, p)], vec![vec![1, o as usize, size, size]]),
                    _ => {
                        let dx = g.conv2d_grad_input(at(2), at(1), 1, i, s, s, o, k, k, 1, p, p);
                        let dw = g.conv2d_grad_weight(at(2), at(0), i, s, s, o, k, k, 1, p, p);
                        (vec![dx, dw], vec![first(shapes_of(0)), first(shapes_of(1))])
                    }
                }
            }
            (Op::Attention { length, heads, width }, pass) => {
                let (num_heads, head_dim) = (heads as u32, width as u32);
                let shape = vec![length, heads * width];
                if pass == Pass::Forward {
                    (vec![g.full_attention(at(0), at(1), at(2), num_heads, num_heads, head_dim)], vec![shape])
                } else {
                    let (num_kv_heads, is_cross) = (num_heads, false);
                    let y = g.multi_head_attn(at(0), at(1), at(2), num_heads, num_kv_heads, head_dim, is_cross);
                    // As its own differentiation appends them; they read what the forward node leaves beside y.
                    let ops = [
                        Raw::MultiHeadAttnGradQ { fwd_node: y, num_heads, num_kv_heads, head_dim, is_cross },
                        Raw::MultiHeadAttnGradK { fwd_node: y, num_heads, num_kv_heads, head_dim, is_cross },
                        Raw::MultiHeadAttnGradV { fwd_node: y, num_heads, num_kv_heads, head_dim, is_cross },
                    ];
                    let grads = ops.map(|op| g.add_raw_node(op, vec![at(3), at(0), at(1), at(2)], TensorType::f32(shape.clone())));
                    ([y].into_iter().chain(grads).collect(), vec![shape; 4])
                }
            }
            (Op::Linear { .. }, _) => unreachable!("no such case"),
        };
        g.set_outputs(outputs);
        let config = SessionConfig { mode: Mode::Inference, tune: true, ..SessionConfig::default() };
        let (mut session, _) = meganeura::train::build(&g, config);
        for (host, tensor) in inputs.iter().zip(&tensors) {
            match host.name {
                "w" => session.set_parameter("w", &tensor.to_f32()),
                // What no operator reads is not there.
                name if session.has_input(name) => session.set_input(name, &tensor.to_f32()),
                _ => {}
            }
        }
        Ok(Meganeura { session, shapes, conv })
    }

    /// What its driver calls itself.
    pub fn adapter(&self) -> String {
        self.session.device_information().device_name.clone()
    }
}

impl Subject for Meganeura {
    fn time(&mut self) -> Result<f64> {
        let start = Instant::now();
        self.session.step();
        self.session.wait();
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    fn results(&mut self) -> Result<Vec<Vec<f32>>> {
        let read = |(index, shape): (usize, &Vec<usize>)| {
            let mut out = vec![0.0; shape.iter().product()];
            self.session.read_output_by_index(index, &mut out);
            let tensor = Tensor::from_f32(Shape::new(shape)?, out)?;
            Ok(if self.conv { tensor.permute(&[0, 2, 3, 1])? } else { tensor }.to_f32().to_vec())
        };
        self.shapes.iter().enumerate().map(read).collect()
    }
}
