//! The program as a whole, and the harness of the fuzzer.

mod cases;
mod command_line;
mod docs;
mod fuzz;
mod interop;
mod outputs;
mod prompt;
mod readme;
