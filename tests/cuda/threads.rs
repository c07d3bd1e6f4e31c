//! Sessions of one device that several threads run at the same time.

use super::overlap::KERNELS;
use super::probe::{self, device};
use escnet::device::cuda::{Dispatch, Operand};
use escnet::graph::Options;
use escnet::{DType, Tensor, TensorType};

const LEN: usize = 128;
/// Launches of a session; enough for a recording to be met by another thread's calls.
const LAUNCHES: usize = 200;
const SESSIONS: usize = 20;

/// Each session is new, so that it is recorded while others are written, recorded, run and read. All of these get their own numbers.
#[test]
fn sessions_are_first_run_at_the_same_time() {
    let Some(device) = device() else { return };
    let numbers = |thread: usize, session: usize| (0..LEN).map(move |i| (i + 1000 * session + 1_000_000 * thread) as i32);
    let work = |thread: usize| {
        for session in 0..SESSIONS {
            let x = Tensor::from_i32([LEN], numbers(thread, session).collect()).unwrap();
            let outputs = [TensorType::new(DType::I32, [LEN]); 2];
            let y = probe::run_with(Options::default(), &device, &[x], &outputs, |launch| {
                for n in 0..LAUNCHES {
                    let from = if n == 0 { Operand::Input(0) } else { Operand::Output((n + 1) % 2) };
                    let step = Dispatch::new(&KERNELS, "overlap_all_wait").overlaps().rows(2).block(64);
                    launch.add(step.tensors([from, Operand::Output(n % 2)]));
                }
            });
            // Neighbours change places an even number of times.
            let right: Vec<i32> = numbers(thread, session).map(|x| x + LAUNCHES as i32).collect();
            assert_eq!(y.unwrap()[1].as_i32(), Some(&right[..]), "thread {thread}, session {session}");
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
}
