//! The CPU: buffers, threads, and the arguments that an operator's code receives.
//!
//! Everything is generic over [`Real`], so that one memory and one replay loop serve the f32 path and the f64 reference.

mod args;
pub mod gemm;
mod memory;
mod processor;
mod real;
mod rows;

pub use args::Args;
pub use memory::{Buffer, Memory, give_back_freed};
pub use processor::model;
pub use real::Real;
pub use rows::{Vectors, dot, for_heavy_rows, for_rows, for_rows_of, max, sum, sum_rows, sum_wide, sum_written_rows, sum2, vectorized};

use crate::error::{Error, Result};
use std::any::Any;
use std::sync::Arc;

/// A constant tensor in the layout that some CPU code wants; only that code knows the type inside.
pub type Packed = Arc<dyn Any + Send + Sync>;

/// A pool of threads.
#[derive(Debug, Clone)]
pub struct Cpu {
    pool: Option<Arc<rayon::ThreadPool>>,
    threads: usize,
}

impl Cpu {
    /// A pool of this many threads; 0 takes one a core. One thread needs no pool, so that platforms without threads work.
    pub fn new(threads: usize) -> Result<Self> {
        let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, |n| n.get()) } else { threads };
        if cfg!(target_arch = "wasm32") {
            return Ok(Cpu { pool: None, threads: 1 });
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("escnet-{i}")).build();
        let pool = pool.map_err(|e| Error::Device { device: "cpu".to_owned(), reason: e.to_string() })?;
        Ok(Cpu { pool: Some(Arc::new(pool)), threads })
    }

    /// How many threads work.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The processor, where it has a name with the vectors that code is run for, and the threads: `Intel(R) Xeon(R) Processor, AVX-512, 2 threads`.
    pub fn describe(&self) -> String {
        let processor = model().map_or(String::new(), |model| format!("{model}, {}, ", Vectors::widest().name()));
        format!("{processor}{} threads", self.threads)
    }

    /// Runs `work` inside the pool.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}
