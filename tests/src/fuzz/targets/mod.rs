//! Every target, and the canaries.

mod byteswap;
mod canary;
mod codec;
mod edit;
mod fletcher;
mod forged;
mod gpt;
mod log;
mod nvlist;
mod partition;
mod phys;
mod pool;
mod record;
mod recv;
mod rewrite;
mod sa;
mod send;
mod shape;
mod shown;
mod stream;
mod token;
mod unsealed;
mod view;
mod zap;

pub use unsealed::image as unsealed_image;

use super::Target;
use zstream_format::algorithm::CompressionType;

/// Memory that anything may hold which reads an input in constant memory.
const SMALL: usize = 24 << 20;

/// The target of one decompressor.
macro_rules! codec {
    ($name:literal, $kind:ident) => {
        Target {
            name: $name,
            about: "a block decompressed, compressed and decompressed is the same",
            corpus: || codec::corpus(CompressionType::$kind),
            mutate: super::mutate::bytes,
            run: |input| codec::run(CompressionType::$kind, input),
            memory_limit_bytes: SMALL,
        }
    };
}

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
    Target {
        name: "edit",
        about: "a stream recompressed and back, decompressed, converted: the same blocks",
        corpus: rewrite::corpus,
        mutate: stream::mutate,
        run: rewrite::run,
        memory_limit_bytes: 8 * SMALL,
    },
    Target {
        name: "parallel",
        about: "a stream checked on all cores gives what it gives on one",
        corpus: super::corpus::streams,
        mutate: stream::mutate,
        run: stream::run_parallel,
        memory_limit_bytes: 2 * SMALL,
    },
    Target {
        name: "fletcher",
        about: "fletcher-4 in pieces, joined and by vector kernels is fletcher-4 word by word",
        corpus: fletcher::corpus,
        mutate: super::mutate::bytes,
        run: fletcher::run,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "nvlist",
        about: "a list decoded and encoded is the same, by way of every encoding",
        corpus: super::corpus::nvlists,
        mutate: super::mutate::bytes,
        run: nvlist::run,
        memory_limit_bytes: 64 << 20,
    },
    Target {
        name: "token",
        about: "a token parsed and written says the same",
        corpus: || [token::corpus(), super::corpus::nvlists()].concat(),
        mutate: super::mutate::text,
        run: token::run,
        memory_limit_bytes: 64 << 20,
    },
    Target {
        name: "byteswap",
        about: "a payload swapped there and back is the same",
        corpus: byteswap::corpus,
        mutate: super::mutate::bytes,
        run: byteswap::run,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "verify",
        about: "a verdict is the same on one core, on all, and read at any place",
        corpus: super::corpus::streams,
        mutate: stream::mutate,
        run: edit::run_verify,
        memory_limit_bytes: 2 * SMALL,
    },
    Target {
        name: "swap-stream",
        about: "a stream byte-swapped there and back is the same, but for what is reported",
        corpus: super::corpus::streams,
        mutate: stream::mutate,
        run: edit::run_byteswap,
        memory_limit_bytes: 64 << 20,
    },
    Target {
        name: "resume",
        about: "a point to go on from lies between good records; what is selected is part of the input",
        corpus: super::corpus::streams,
        mutate: stream::mutate,
        run: edit::run_resume,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "recv",
        about: "a receive ends with a snapshot or an error, the pool is clean, and nothing is left unfinished",
        corpus: recv::corpus,
        mutate: stream::mutate,
        run: recv::run,
        memory_limit_bytes: 8 * SMALL,
    },
    codec!("lz4", LZ4),
    codec!("lzjb", LZJB),
    codec!("zle", ZLE),
    codec!("gzip", GZIP_9),
    codec!("zstd", ZSTD),
    Target {
        name: "block-pointer",
        about: "a block pointer parsed and written is the same, in both byte orders",
        corpus: phys::block_pointers,
        mutate: super::mutate::bytes,
        run: phys::block_pointer,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "dnode",
        about: "a dnode written and parsed is the same",
        corpus: phys::dnodes,
        mutate: super::mutate::bytes,
        run: phys::dnode,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "uberblock",
        about: "an uberblock written and parsed is the same",
        corpus: phys::uberblock_corpus,
        mutate: super::mutate::bytes,
        run: phys::uberblock,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "label",
        about: "a label says what its list says, and with a flipped bit it is none",
        corpus: phys::labels,
        mutate: super::mutate::bytes,
        run: phys::label,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "zap",
        about: "what is found by name is an entry",
        corpus: zap::corpus,
        mutate: super::mutate::bytes,
        run: zap::run,
        memory_limit_bytes: 64 << 20,
    },
    Target {
        name: "gpt",
        about: "partitions lie on the disk; the backup table says what the primary says",
        corpus: gpt::corpus,
        mutate: super::mutate::bytes,
        run: gpt::run,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "partition",
        about: "partitions of an MBR, and slices, lie on the disk, and are not too many",
        corpus: partition::corpus,
        mutate: super::mutate::bytes,
        run: partition::run,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "log",
        about: "records in one block of a log are those in a block each, and are replayed or give an error",
        corpus: log::corpus,
        mutate: log::mutate,
        run: log::run,
        memory_limit_bytes: 256 << 20,
    },
    Target {
        name: "draid",
        about: "a dRAID configuration is refused, or blocks are on its members with their parity",
        corpus: shape::draid_corpus,
        mutate: shape::words_mutate,
        run: shape::draid,
        memory_limit_bytes: 64 << 20,
    },
    Target {
        name: "dtl",
        about: "the groups that a member missed are the same in blocks of any size",
        corpus: shape::dtl_corpus,
        mutate: shape::words_mutate,
        run: shape::dtl,
        memory_limit_bytes: 64 << 20,
    },
    Target {
        name: "sa",
        about: "attributes of a file lie in their buffer; what is behind it changes nothing",
        corpus: sa::corpus,
        mutate: super::mutate::bytes,
        run: sa::run,
        memory_limit_bytes: SMALL,
    },
    Target {
        name: "view",
        about: "a stored stream shows the same in pieces and as a whole",
        corpus: super::corpus::streams,
        mutate: view::mutate,
        run: view::run,
        memory_limit_bytes: 8 * SMALL,
    },
    Target {
        name: "dsl",
        about: "in a forged MOS a name leads to the dataset that has it",
        corpus: forged::corpus,
        mutate: super::mutate::bytes,
        run: forged::datasets,
        memory_limit_bytes: 8 * SMALL,
    },
    Target {
        name: "directories",
        about: "in a forged file system a path leads to the node that has it",
        corpus: forged::corpus,
        mutate: super::mutate::bytes,
        run: forged::directories,
        memory_limit_bytes: 8 * SMALL,
    },
    Target {
        name: "image",
        about: "a file of a damaged pool is right or an error",
        corpus: pool::image_corpus,
        mutate: pool::mutate,
        run: pool::run_image,
        memory_limit_bytes: 8 * SMALL,
    },
    Target {
        name: "pool",
        about: "a block of a damaged pool is right or an error",
        corpus: || pool::corpus(&pool::SINGLE),
        mutate: pool::mutate,
        run: |input| pool::run(&pool::SINGLE, input),
        memory_limit_bytes: 64 << 20,
    },
    Target {
        name: "pool-raidz2",
        about: "a block of a raidz2 with two damaged members is right",
        corpus: || pool::corpus(&pool::RAIDZ2),
        mutate: pool::mutate,
        run: |input| pool::run(&pool::RAIDZ2, input),
        memory_limit_bytes: 64 << 20,
    },
    Target {
        name: "send",
        about: "a forged dataset gives an error or a whole stream, the same with one thread and with many",
        corpus: send::corpus,
        mutate: send::mutate,
        run: send::run,
        memory_limit_bytes: 256 << 20,
    },
    Target {
        name: "image-read",
        about: "a pool with any metadata is read, checked and sent, or gives an error",
        corpus: unsealed::corpus,
        mutate: unsealed::mutate,
        run: unsealed::run_read,
        memory_limit_bytes: 256 << 20,
    },
    Target {
        name: "image-write",
        about: "a verb over a pool with any metadata fails and changes nothing, or leaves it as clean as before",
        corpus: unsealed::corpus,
        mutate: unsealed::mutate,
        run: unsealed::run_write,
        memory_limit_bytes: 256 << 20,
    },
    Target {
        name: "shown",
        about: "no control character of a name reaches what the program prints",
        corpus: shown::corpus,
        mutate: shown::mutate,
        run: shown::run,
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
