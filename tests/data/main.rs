//! Data sets: drawn, read, checked.

mod demo;
