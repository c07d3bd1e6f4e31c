//! A run allocates no tensor memory: a whole training step on tensors of 1 MB, counted by the allocator itself.
//!
//! What a run may allocate is small: lists of slices, partial sums of a row's width, the thread pool's queues.

use escnet::graph::{Builder, Graph, Options, Segment, Session, StateKind, Store, fuse, gradients};
use escnet::ops::adamw::{AdamW, Tuned, adamw};
use escnet::ops::linear::{Activation, linear};
use escnet::ops::{accumulate::accumulate, add::add, cross_entropy::cross_entropy, dropout::dropout, grad_norm::grad_norm, mul::mul, rules};
use escnet::{Device, Result, Tensor, TensorType};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, counting.
struct Counting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);
static TOTAL: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        TOTAL.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rows and columns of every matrix: 1 MB of f32.
const SIDE: usize = 512;
const TENSOR: usize = SIDE * SIDE * 4;

fn step() -> Result<Graph> {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::f32([SIDE, SIDE]))?;
    let labels = b.input("labels", TensorType::i32([SIDE]))?;
    let control = b.state("control", TensorType::i32([4]), StateKind::Control)?;
    let (w, bias) = (b.parameter("w", [SIDE, SIDE])?, b.parameter("bias", [SIDE])?);
    let hidden = linear(&mut b, x, w, Some(bias), Activation::Gelu)?;
    let dropped = dropout(&mut b, hidden, 0.1, control, 7)?;
    let product = mul(&mut b, dropped, x)?;
    let logits = add(&mut b, product, x)?;
    let loss = cross_entropy(&mut b, logits, labels, None, 0.1, -100)?;
    b.output("loss", loss);
    let one = b.constant(Tensor::scalar(1.0));
    let found = gradients(&mut b, &rules(), &[(loss, one)], &[w, bias])?;
    let mut tuned = Vec::new();
    for (parameter, (name, gradient)) in [w, bias].into_iter().zip(["w", "bias"].into_iter().zip(found.into_iter().flatten())) {
        let ty = b.ty(parameter);
        let sum = b.state(&format!("sum.{name}"), ty, StateKind::Gradient)?;
        accumulate(&mut b, sum, gradient, control, None)?;
        let (m, v) = (b.state(&format!("m.{name}"), ty, StateKind::Moment)?, b.state(&format!("v.{name}"), ty, StateKind::Moment)?);
        tuned.push(Tuned { parameter, m, v, gradient: sum, group: 0, decay: true });
    }
    b.set_segment(Segment::Apply);
    let (norm, finite) = grad_norm(&mut b, &tuned.iter().map(|t| t.gradient).collect::<Vec<_>>())?;
    let (rate, count) = (b.state("lr", TensorType::f32([1]), StateKind::Control)?, b.state("step", TensorType::i32([1]), StateKind::Control)?);
    let settings = AdamW { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01, clip_norm: Some(1.0) };
    adamw(&mut b, settings, &tuned, rate, count, norm, finite)?;
    fuse(b.finish(), &rules())
}

#[test]
fn a_run_allocates_no_tensor_memory() {
    for threads in [1, 3] {
        let mut store = Store::new(&Device::cpu(threads).unwrap());
        let mut session = Session::new(step().unwrap(), &mut store, Options::default()).unwrap();
        let numbers = (0..SIDE * SIDE).map(|i| (i as f32).sin()).collect();
        session.write("x", &Tensor::from_f32([SIDE, SIDE], numbers).unwrap()).unwrap();
        let mut run = || {
            session.run(&mut store, Segment::Run).unwrap();
            session.run(&mut store, Segment::Apply).unwrap();
        };
        run();
        // A thread keeps the buffer in which it rearranges blocks of a product, and gets it with its first product: which may not be in
        // the first run. So runs are watched until three in a row ask for nothing large.
        let steps = 3;
        let mut watch = || {
            LARGEST.store(0, Relaxed);
            TOTAL.store(0, Relaxed);
            (0..steps).for_each(|_| run());
            (LARGEST.load(Relaxed), TOTAL.load(Relaxed) / steps)
        };
        let (mut largest, mut total) = watch();
        for _ in 0..if threads > 1 { 50 } else { 0 } {
            if largest > 16 * 1024 {
                (largest, total) = watch();
            }
        }
        assert!(largest <= 16 * 1024, "{threads} threads: an allocation of {largest} bytes");
        assert!(total < TENSOR / 8, "{threads} threads: {total} bytes a step");
    }
}
