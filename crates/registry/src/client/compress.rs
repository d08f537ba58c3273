//! gzip on all cores: the stream is cut into blocks that are compressed side by side and written in order.
//!
//! ```text
//! tar ──> blocks of 256 KiB ──> one queue ──> workers: deflate, CRC ──> in order ──> one gzip member
//! ```
//! Every block but the last ends with a sync flush, and knows the 32 KiB before it as its dictionary, so the result is
//! one ordinary member (RFC 1952) hardly larger than if it were compressed in one go. It depends on the input alone,
//! never on the number of workers: the same layer always becomes the same blob.

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

const BLOCK: usize = 256 << 10;
/// DEFLATE never looks back further (RFC 1951).
const WINDOW: usize = 32 << 10;
/// Blocks that wait for a worker, and for being written, for each worker.
const WAITING: usize = 4;
/// No name, no time, and "unknown" as the system: only content may make a difference.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const LEVEL: u32 = 6;

/// A block on its way through the workers.
struct Block {
    dictionary: Vec<u8>,
    bytes: Vec<u8>,
    last: bool,
    done: SyncSender<io::Result<Deflated>>,
}

struct Deflated {
    bytes: Vec<u8>,
    crc: Crc,
}

/// Compresses what `produce` writes into `out`, and returns what it returned.
pub(super) fn gzip<T: Send, E: From<io::Error> + Send>(
    produce: impl FnOnce(&mut dyn Write) -> Result<T, E> + Send,
    out: &mut (dyn Write + Send),
) -> Result<T, E> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let (queue, blocks) = sync_channel::<Block>(workers * WAITING);
    let (order, ordered) = sync_channel(workers * WAITING);
    let blocks = Mutex::new(blocks);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&blocks));
        }
        let writing = scope.spawn(move || write_in_order(&ordered, out));
        let mut cutter = Cutter { queue, order, dictionary: Vec::new(), bytes: Vec::with_capacity(BLOCK) };
        let produced = produce(&mut cutter).and_then(|made| Ok(cutter.finish().map(|()| made)?));
        drop(cutter);
        let written = writing.join().unwrap_or_else(|_| Err(io::Error::other("writing ended early")));
        // If writing failed, what the producer says is only that its other end was gone.
        written?;
        produced
    })
}

/// Cuts a stream into blocks and hands them out.
struct Cutter {
    queue: SyncSender<Block>,
    order: SyncSender<Receiver<io::Result<Deflated>>>,
    dictionary: Vec<u8>,
    bytes: Vec<u8>,
}

impl Cutter {
    fn hand_out(&mut self, last: bool) -> io::Result<()> {
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(BLOCK));
        let tail = bytes[bytes.len().saturating_sub(WINDOW)..].to_vec();
        let dictionary = std::mem::replace(&mut self.dictionary, tail);
        let (done, result) = sync_channel(1);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.order.send(result).map_err(gone)?;
        self.queue.send(Block { dictionary, bytes, last, done }).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.hand_out(true)
    }
}

impl Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..taken]);
        if self.bytes.len() == BLOCK {
            self.hand_out(false)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(blocks: &Mutex<Receiver<Block>>) {
    loop {
        let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(block) = next else { return };
        // Nobody waits for it if writing failed; the cutter hears of that.
        let _ = block.done.send(deflate(&block));
    }
}

fn deflate(block: &Block) -> io::Result<Deflated> {
    let mut stream = Compress::new(Compression::new(LEVEL), false);
    if !block.dictionary.is_empty() {
        stream.set_dictionary(&block.dictionary).map_err(io::Error::other)?;
    }
    let flush = if block.last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut bytes = Vec::with_capacity(block.bytes.len() / 2 + 64);
    loop {
        let taken = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let status = stream.compress_vec(&block.bytes[taken..], &mut bytes, flush).map_err(io::Error::other)?;
        let complete = match status {
            Status::StreamEnd => true,
            // A sync flush is out when there was room left for more.
            Status::Ok | Status::BufError => !block.last && bytes.len() < bytes.capacity(),
        };
        if complete {
            break;
        }
        bytes.reserve(bytes.capacity().max(64));
    }
    let mut crc = Crc::new();
    crc.update(&block.bytes);
    Ok(Deflated { bytes, crc })
}

fn write_in_order(ordered: &Receiver<Receiver<io::Result<Deflated>>>, out: &mut (dyn Write + Send)) -> io::Result<()> {
    let mut crc = Crc::new();
    out.write_all(&HEADER)?;
    while let Ok(next) = ordered.recv() {
        // A block that was announced and never handed out: the producer ended early, and says why itself.
        let Ok(deflated) = next.recv() else { return Ok(()) };
        let deflated = deflated?;
        crc.combine(&deflated.crc);
        out.write_all(&deflated.bytes)?;
    }
    out.write_all(&crc.sum().to_le_bytes())?;
    out.write_all(&crc.amount().to_le_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn packed(bytes: &[u8], step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let produce = |to: &mut dyn Write| -> io::Result<()> {
            bytes.chunks(step.max(1)).try_for_each(|piece| to.write_all(piece))
        };
        gzip(produce, &mut out).unwrap();
        out
    }

    /// Bytes that are neither all the same nor all different.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0] & 0x1f
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn any_reader_gets_back_what_was_written() {
        for length in [0, 1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77] {
            let bytes = sample(length);
            let packed = packed(&bytes, 70_000);
            let mut back = Vec::new();
            let mut reader = flate2::read::GzDecoder::new(packed.as_slice());
            reader.read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{length} bytes");
            assert!(reader.into_inner().is_empty(), "one member only");
        }
    }

    #[test]
    fn bytes_that_cannot_be_compressed_pass_too() {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let bytes: Vec<u8> = (0..BLOCK / 4).flat_map(|_| next()).collect();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(packed(&bytes, 4096).as_slice()).read_to_end(&mut back).unwrap();
        assert!(back == bytes);
    }

    #[test]
    fn the_same_bytes_become_the_same_blob() {
        let bytes = sample(2 * BLOCK + 5);
        assert!(packed(&bytes, 1) == packed(&bytes, 1 << 20));
    }

    #[test]
    fn an_error_of_either_end_comes_out() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let endless = |to: &mut dyn Write| -> io::Result<()> {
            loop {
                to.write_all(&[0; 4096])?;
            }
        };
        assert_eq!(gzip(endless, &mut Full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        let broken = |to: &mut dyn Write| -> io::Result<()> {
            to.write_all(&[0; 4096])?;
            Err(io::ErrorKind::NotFound.into())
        };
        assert_eq!(gzip(broken, &mut Vec::new()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
