//! Comparing payloads with what their records say of them.
//!
//! The key of a WRITE holds the checksum of the block as it lay on the sender's disk. Where the payload
//! is in that form, the checksum can be computed again; in raw streams two of its words are the MAC that
//! stands in the record too. And a compressed payload has to make as many bytes as the record says.
//!
//! The key is in the words of the machine that wrote the block, which need not be those of the machine
//! that sent it. So either order is taken, and of types whose content is swapped nothing is asked.

use crate::algorithm::{ChecksumType, CompressionType};
use crate::checksum::Checksum;
use crate::compress::{CodecError, CodecFault, decompress};
use crate::fletcher::fletcher4;
use crate::object_type::SwapClass;
use crate::order::ByteOrder;
use crate::record::{Body, Spill, Write, WriteEmbedded};
use crate::stream::{PayloadFault, Record};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// Checks payloads; holds the room to decompress into.
#[derive(Debug, Default)]
pub(super) struct Deep {
    room: Vec<u8>,
}

impl Deep {
    /// Checks the payload of a record that the rules let pass.
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

    /// Decompresses a payload, for the sake of the errors.
    fn decompress(&mut self, kind: CompressionType, stored: &[u8], size: u64) -> Result<(), PayloadFault> {
        if matches!(kind, CompressionType::INHERIT | CompressionType::OFF) {
            return Ok(());
        }
        self.room.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
        match decompress(kind, stored, &mut self.room) {
            // A build without the codec cannot say.
            Err(CodecError { fault: CodecFault::NotCompiledIn { .. }, .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The key of a WRITE that is not raw, where it can be computed again.
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
