//! Comparison of payloads with their records.
//!
//! The key of a WRITE contains the checksum of the block on the sender's disk. If the payload is in the same
//! form, the checksum can be verified; in raw streams two of its words are the MAC, which the record contains,
//! too. And a compressed payload must decompress to the size in the record.
//!
//! The key is in the byte order of the machine that wrote the block, which may differ from that of the sender.
//! So both byte orders are accepted, and keys of types whose content is swapped are not verified.

use crate::algorithm::{ChecksumType, CompressionType};
use crate::checksum::Checksum;
use crate::compress::{CodecError, CodecFault, decompress};
use crate::fletcher::fletcher4;
use crate::object_type::SwapClass;
use crate::order::ByteOrder;
use crate::record::{Body, Spill, Write, WriteEmbedded};
use crate::stream::{PayloadFault, Record};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// A verifier of payloads with a reusable buffer for decompression.
#[derive(Debug, Default)]
pub(super) struct Deep {
    room: Vec<u8>,
}

impl Deep {
    /// Verifies the payload of a record that complies with the rules.
    pub(super) fn check(&mut self, body: &Body, record: &Record<'_>, raw: bool) -> Result<(), PayloadFault> {
        match body {
            Body::Write(write) if raw => self.raw_write(write, record),
            Body::Write(write) => {
                self.decompress(write.compression, record.payload, write.logical_size)?;
                key(write, record)
            }
            Body::WriteEmbedded(embedded) => self.embedded(embedded, record),
            Body::Spill(spill) if !raw => self.spill(spill, record),
            _ => Ok(()),
        }
    }

    fn embedded(&mut self, embedded: &WriteEmbedded, record: &Record<'_>) -> Result<(), PayloadFault> {
        let stored = record.payload.get(..embedded.physical_size as usize).unwrap_or(record.payload);
        self.decompress(embedded.compression, stored, embedded.logical_size.into())
    }

    fn spill(&mut self, spill: &Spill, record: &Record<'_>) -> Result<(), PayloadFault> {
        self.decompress(spill.compression, record.payload, spill.length)
    }

    fn raw_write(&mut self, write: &Write, record: &Record<'_>) -> Result<(), PayloadFault> {
        if !write.object_type.is_encrypted() {
            self.decompress(write.compression, record.payload, write.logical_size)?;
        }
        let fits = ORDERS.iter().any(|order| {
            let words = write.key_checksum.0;
            [order.u64(&write.mac), order.u64(&write.mac[8..])] == words[2..]
        });
        if !fits {
            return Err(PayloadFault::Mac);
        }
        if write.checksum_type != ChecksumType::FLETCHER_4 {
            return Ok(());
        }
        let sums = ORDERS.map(|order| {
            let [a, b, c, d] = fletcher4(record.payload, order).0;
            [a ^ c, b ^ d]
        });
        if sums.contains(&[write.key_checksum.0[0], write.key_checksum.0[1]]) {
            return Ok(());
        }
        let [a, b] = sums[0];
        let computed = Checksum([a, b, write.key_checksum.0[2], write.key_checksum.0[3]]);
        Err(PayloadFault::Key { computed, found: write.key_checksum })
    }

    /// Decompresses a payload to find errors.
    fn decompress(&mut self, kind: CompressionType, stored: &[u8], size: u64) -> Result<(), PayloadFault> {
        if matches!(kind, CompressionType::INHERIT | CompressionType::OFF) {
            return Ok(());
        }
        self.room.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
        match decompress(kind, stored, &mut self.room) {
            // A build without the codec cannot verify the payload.
            Err(CodecError { fault: CodecFault::NotCompiledIn { .. }, .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Verifies the key of a WRITE that is not raw, if it can be computed from the payload.
fn key(write: &Write, record: &Record<'_>) -> Result<(), PayloadFault> {
    let found = write.key_checksum;
    let bytes = write.object_type.swap_class() == Some(SwapClass::U8);
    if write.checksum_type != ChecksumType::FLETCHER_4 || !bytes || found.is_zero() {
        return Ok(());
    }
    let on_disk = CompressionType((write.key_prop >> 32 & 0x7f) as u8);
    let encrypted = write.key_prop >> 39 & 1 != 0;
    let as_on_disk = match write.compression {
        CompressionType::INHERIT => on_disk == CompressionType::OFF,
        sent => sent == on_disk,
    };
    if encrypted || !as_on_disk {
        return Ok(());
    }
    let sums = ORDERS.map(|order| fletcher4(record.payload, order));
    if sums.contains(&found) { Ok(()) } else { Err(PayloadFault::Key { computed: sums[0], found }) }
}
