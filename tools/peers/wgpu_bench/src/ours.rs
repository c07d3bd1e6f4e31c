//! escnet's side.

use crate::case::{Case, Host, Op, Pass, Subject};
use escnet::graph::{Builder, Options, Segment, Session, Store, fuse, gradients};
use escnet::ops::attention::{AttentionOptions, Qkv, attention};
use escnet::ops::conv2d::conv2d;
use escnet::ops::linear::{Activation, linear};
use escnet::ops::rules;
use escnet::{Device, Result, Shape, Tensor, TensorType};
use std::time::Instant;

pub struct Ours {
    session: Session,
    store: Store,
    results: Vec<String>,
}

impl Ours {
    pub fn new(device: &Device, case: &Case, inputs: &[Host]) -> Result<Self> {
        let mut b = Builder::new();
        let values = inputs.iter().map(|h| b.input(h.name, TensorType::f32(Shape::new(&h.shape)?))).collect::<Result<Vec<_>>>()?;
        let y = match case.op {
            Op::Linear { .. } => linear(&mut b, values[0], values[1], None, Activation::None)?,
            Op::Conv { kernel, .. } => conv2d(&mut b, values[0], values[1], None, 1, kernel / 2)?,
            Op::Attention { heads, width, .. } => {
                let qkv = Qkv::Separate { q: values[0], k: values[1], v: values[2] };
                attention(&mut b, qkv, AttentionOptions::new(heads, width))?.y
            }
        };
        let mut results = Vec::new();
        let mut keep = |b: &mut Builder, name: String, value| {
            b.output(&name, value);
            results.push(name);
        };
        if case.pass != Pass::Backward {
            keep(&mut b, "y".to_owned(), y);
        }
        if case.pass != Pass::Forward {
            let (dy, of) = values.split_last().expect("a case with a backward pass has dy");
            for (grad, host) in gradients(&mut b, &rules(), &[(y, *dy)], of)?.into_iter().zip(inputs) {
                keep(&mut b, format!("grad.{}", host.name), grad.expect("every input has a gradient"));
            }
        }
        // The engine waits where something is read, so one number that no kernel touches is read after each run.
        let tick = b.input("tick", TensorType::f32([1]))?;
        b.output("tick", tick);
        let mut store = Store::new(device);
        let mut session = Session::new(fuse(b.finish(), &rules())?, &mut store, Options::default())?;
        for host in inputs {
            session.write(host.name, &Tensor::from_f32(Shape::new(&host.shape)?, host.data.clone())?)?;
        }
        session.write("tick", &Tensor::from_f32([1], vec![0.0])?)?;
        Ok(Ours { session, store, results })
    }
}

impl Subject for Ours {
    fn time(&mut self) -> Result<f64> {
        let start = Instant::now();
        self.session.run(&mut self.store, Segment::Run)?;
        self.session.read("tick", &mut self.store)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    fn results(&mut self) -> Result<Vec<Vec<f32>>> {
        self.results.iter().map(|name| Ok(self.session.read(name, &mut self.store)?.to_f32().to_vec())).collect()
    }
}
