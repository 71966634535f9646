//! Every target, and the canaries.

mod canary;
mod record;
mod stream;

use super::Target;

/// Memory that anything may hold which reads an input in constant memory.
const SMALL: usize = 24 << 20;

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "record",
        about: "a record parsed and written is the same; swapped twice too",
        corpus: record::corpus,
        mutate: super::mutate::bytes,
        run: record::run,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "stream",
        about: "a stream read in pieces gives what it gives as a whole; written again it is the same",
        corpus: super::corpus::streams,
        mutate: stream::mutate,
        run: stream::run,
        memory_limit_bytes: SMALL,
    },
];

/// Targets that must fail: each a fault that the harness has to see.
pub const CANARIES: &[Target] = &[
    Target {
        name: "canary-panic",
        about: "breaks when the third byte is lost",
        corpus: canary::corpus,
        mutate: super::mutate::bytes,
        run: canary::panics,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "canary-equality",
        about: "claims that a sum does not change when its input does",
        corpus: canary::corpus,
        mutate: super::mutate::bytes,
        run: canary::unequal,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "canary-memory",
        about: "allocates what a number in the input says",
        corpus: canary::corpus,
        mutate: super::mutate::bytes,
        run: canary::greedy,
        memory_limit_bytes: SMALL,
    },
];
