//! DMU object types.
