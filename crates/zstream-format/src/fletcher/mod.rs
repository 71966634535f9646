//! Fletcher-4 and fletcher-2.
