//! Block I/O: from a block pointer to the block's logical content and back.
