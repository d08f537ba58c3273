//! The 512-byte block in front of every entry (POSIX ustar, and GNU's variant of it).

use super::Fault;

pub(crate) const BLOCK: usize = 512;

/// A header as it stands in the archive, extensions not yet applied.
pub(crate) struct Header<'b> {
    block: &'b [u8; BLOCK],
}

/// The largest value that twelve bytes of octal hold: sizes and times.
pub(crate) const OCTAL_12: u64 = 0o777_7777_7777;

/// The largest value that eight bytes of octal hold: ids, modes, device numbers.
pub(crate) const OCTAL_8: u64 = 0o777_7777;

impl<'b> Header<'b> {
    /// Checks the checksum; historic archives sum signed bytes.
    pub(crate) fn parse(block: &'b [u8; BLOCK]) -> Result<Self, Fault> {
        let stored = number(&block[148..156]).ok_or(Fault::Checksum)?;
        let byte = |(index, &byte): (usize, &u8)| if (148..156).contains(&index) { b' ' } else { byte };
        let unsigned: i64 = block.iter().enumerate().map(|at| i64::from(byte(at))).sum();
        let signed: i64 = block.iter().enumerate().map(|at| i64::from(byte(at).cast_signed())).sum();
        if stored == unsigned || stored == signed { Ok(Self { block }) } else { Err(Fault::Checksum) }
    }

    pub(crate) fn kind(&self) -> u8 {
        self.block[156]
    }

    /// The name, with ustar's prefix. GNU archives use those bytes for something else.
    pub(crate) fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = if &self.block[257..263] == b"ustar\0" { text(&self.block[345..500]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, name].join(&b'/') }
    }

    pub(crate) fn link(&self) -> &[u8] {
        text(&self.block[157..257])
    }

    pub(crate) fn mode(&self) -> Result<u32, Fault> {
        let mode = number(&self.block[100..108]).ok_or(Fault::Number("mode"))?;
        // The file type, which some archivers add, is above these bits.
        u32::try_from(mode & 0o7777).map_err(|_| Fault::Number("mode"))
    }

    pub(crate) fn uid(&self) -> Result<u64, Fault> {
        unsigned(&self.block[108..116], "uid")
    }

    pub(crate) fn gid(&self) -> Result<u64, Fault> {
        unsigned(&self.block[116..124], "gid")
    }

    pub(crate) fn size(&self) -> Result<u64, Fault> {
        unsigned(&self.block[124..136], "size")
    }

    pub(crate) fn mtime(&self) -> Result<i64, Fault> {
        number(&self.block[136..148]).ok_or(Fault::Number("mtime"))
    }

    pub(crate) fn device(&self) -> Result<(u32, u32), Fault> {
        let part =
            |field| unsigned(field, "device").and_then(|n| u32::try_from(n).map_err(|_| Fault::Number("device")));
        Ok((part(&self.block[329..337])?, part(&self.block[337..345])?))
    }
}

fn unsigned(field: &[u8], name: &'static str) -> Result<u64, Fault> {
    number(field).and_then(|value| u64::try_from(value).ok()).ok_or(Fault::Number(name))
}

/// Octal digits among spaces and zeros, nothing at all for zero, or GNU's big-endian binary with the top bit set.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // The bit below the marker is the sign, spread over what is read.
        let start = if first & 0x40 == 0 { i128::from(first & 0x3f) } else { i128::from(first.cast_signed()) };
        let value = field[1..].iter().try_fold(start, |value, &byte| {
            value.checked_mul(256).map(|value| value | i128::from(byte)).filter(|value| value.abs() < 1 << 100)
        })?;
        return i64::try_from(value).ok();
    }
    let digits = field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| !matches!(byte, b' ' | 0));
    digits.clone().try_fold(0_i64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// A field's bytes up to the first zero.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// What goes into a header that is written; values are cut to what the fields hold.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fields<'f> {
    pub(crate) kind: u8,
    pub(crate) prefix: &'f [u8],
    pub(crate) name: &'f [u8],
    pub(crate) link: &'f [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) size: u64,
    pub(crate) mtime: u64,
    pub(crate) device: (u32, u32),
}

impl Fields<'_> {
    pub(crate) fn render(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        put(&mut block[..100], self.name);
        octal(&mut block[100..108], self.mode.into());
        octal(&mut block[108..116], self.uid);
        octal(&mut block[116..124], self.gid);
        octal(&mut block[124..136], self.size);
        octal(&mut block[136..148], self.mtime);
        block[156] = self.kind;
        put(&mut block[157..257], self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], self.device.0.into());
        octal(&mut block[337..345], self.device.1.into());
        put(&mut block[345..500], self.prefix);
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut block[148..155], sum);
        block
    }
}

fn put(field: &mut [u8], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let mut rest = value;
    for place in field[..digits].iter_mut().rev() {
        *place = b'0' + (rest % 8) as u8;
        rest /= 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0x20, 0, 0]), Some(0x20_0000));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0xbf; 12]), None);
        assert_eq!(number(b"12x"), None);
        assert_eq!(number(b"-1"), None);
    }

    #[test]
    fn a_rendered_header_is_read_back() {
        let fields = Fields { kind: b'3', name: b"dev/sda", mode: 0o4640, uid: 7, device: (8, 1), ..Fields::default() };
        let block = fields.render();
        let Ok(header) = Header::parse(&block) else { panic!("checksum") };
        assert_eq!(header.name(), b"dev/sda");
        assert_eq!((header.mode(), header.uid(), header.device()), (Ok(0o4640), Ok(7), Ok((8, 1))));
    }
}
