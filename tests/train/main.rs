//! Training beside PyTorch.

mod learning;
