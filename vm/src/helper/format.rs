//! The format language of `trace_printk` and `snprintf` (`bpf_bprintf_prepare` in
//! `kernel/bpf/helpers.c`, `lib/vsprintf.c`).
//!
//! The kernel reads a format twice. The first reading checks it and copies the arguments into a
//! buffer of 512 bytes; the second prints. Where the two disagree, this is so here as well: about the
//! end of a conversion (letters and digits after `%p...` are lost), and about where the next argument
//! lies (text that stands for a pointer and comes after the end of the output is not stepped over,
//! so that later arguments are read from it; `bstr_printf`).

use super::Bytes;
use super::string::is_space;
use crate::host::Space;
use ebpfvm_spec::Errno;

/// Reads the program's memory: a string up to its zero byte, or a number of bytes.
pub(super) trait Memory {
    /// The string at an address, cut to `max` bytes; none if it is not all there. Whose it is, if the
    /// format says so.
    fn string(&mut self, space: Option<Space>, address: u64, max: usize) -> Option<Bytes>;
    /// The bytes at an address of the kernel.
    fn bytes(&mut self, address: u64, bytes: usize) -> Option<Bytes>;
}

/// Text that was printed into a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Printed {
    /// What fits before the terminating zero.
    pub(super) text: Vec<u8>,
    /// How many bytes there would be without a limit.
    pub(super) bytes: usize,
    /// How many bytes the buffer has, the terminating zero among them.
    size: usize,
}

impl Printed {
    fn room(&self) -> usize {
        self.size.saturating_sub(1).saturating_sub(self.text.len())
    }

    /// Whether the next byte would come after the end of the buffer.
    fn is_full(&self) -> bool {
        self.bytes >= self.size
    }

    fn put(&mut self, bytes: &[u8]) {
        let room = self.room();
        self.text.extend(&bytes[..bytes.len().min(room)]);
        self.bytes += bytes.len();
    }

    fn fill(&mut self, byte: u8, count: usize) {
        let room = self.room();
        self.text.resize(self.text.len() + count.min(room), byte);
        self.bytes += count;
    }
}

/// Flags and width of a conversion.
#[derive(Clone, Copy, Default)]
struct Field {
    zero: bool,
    plus: bool,
    space: bool,
    left: bool,
    width: Option<usize>,
}

impl Field {
    /// Prints text on its side of the field.
    fn text(self, out: &mut Printed, text: &[u8]) {
        let fill = self.width.unwrap_or(0).saturating_sub(text.len());
        if !self.left {
            out.fill(b' ', fill);
        }
        out.put(text);
        if self.left {
            out.fill(b' ', fill);
        }
    }

    /// Prints digits with what stands before them; zeros go between.
    fn number(self, out: &mut Printed, sign: &[u8], digits: &str) {
        let fill = self.width.unwrap_or(0).saturating_sub(sign.len() + digits.len());
        let zeros = self.zero && !self.left;
        if !self.left && !zeros {
            out.fill(b' ', fill);
        }
        out.put(sign);
        if zeros {
            out.fill(b'0', fill);
        }
        out.put(digits.as_bytes());
        if self.left {
            out.fill(b' ', fill);
        }
    }

    /// Prints an address: all its digits, or the width given.
    fn address(mut self, out: &mut Printed, address: u64) {
        if self.width.is_none() {
            (self.width, self.zero) = (Some(16), true);
        }
        self.number(out, b"", &format!("{address:x}"));
    }
}

/// The arguments, and the buffer that the kernel copies them into.
///
/// Each conversion writes its argument and then reads one. What is read was written: reading is
/// never ahead of writing, and text ends with a zero.
struct Args<'a> {
    values: &'a [u64],
    buffer: Vec<u8>,
    /// Where in the buffer the next argument is read.
    at: usize,
}

impl Args<'_> {
    const BUFFER_BYTES: usize = 512;

    fn next(&mut self) -> u64 {
        let (first, rest) = self.values.split_first().unwrap_or((&0, &[]));
        self.values = rest;
        *first
    }

    fn left(&self) -> usize {
        Args::BUFFER_BYTES - self.buffer.len()
    }

    /// Writes the bytes of a number.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if self.left() < bytes.len() {
            return Err(Errno::ENOSPC);
        }
        self.buffer.extend(bytes);
        Ok(())
    }

    /// Writes text and its zero, cut to what is left.
    fn write_text(&mut self, text: &[u8]) {
        if let Some(max) = self.left().checked_sub(1) {
            self.buffer.extend(&text[..text.len().min(max)]);
            self.buffer.push(0);
        }
    }

    fn read(&mut self, bytes: usize) -> &[u8] {
        let from = self.buffer.get(self.at..).unwrap_or_default();
        self.at += bytes;
        &from[..from.len().min(bytes)]
    }

    /// The text at the place of reading.
    fn read_text(&mut self) -> &[u8] {
        let from = self.buffer.get(self.at..).unwrap_or_default();
        let bytes = from.iter().position(|byte| *byte == 0).unwrap_or(from.len());
        self.at += bytes + 1;
        &from[..bytes]
    }

    /// Prints text that stands for a pointer. After the end of the output the kernel leaves it where
    /// it is, and does not count it.
    fn print_text(&mut self, out: &mut Printed) {
        if !out.is_full() {
            out.put(self.read_text());
        }
    }

    /// A number that takes `bytes` bytes, at most 8, aligned.
    fn number(&mut self, bytes: usize) -> Result<u64, Errno> {
        const ALIGNMENT: usize = 4;
        self.buffer.resize(self.buffer.len().next_multiple_of(ALIGNMENT), 0);
        let value = self.next().to_le_bytes();
        self.write(&value[..bytes])?;
        self.at = self.at.next_multiple_of(ALIGNMENT);
        let read = self.read(bytes);
        let mut value = [0; 8];
        value[..read.len()].copy_from_slice(read);
        Ok(u64::from_le_bytes(value))
    }

    fn char(&mut self) -> Result<u8, Errno> {
        let value = self.next() as u8;
        self.write(&[value])?;
        Ok(self.read(1).first().copied().unwrap_or(0))
    }

    /// Takes a string in the program's memory; an address without one gives an empty string.
    fn take_string(&mut self, memory: &mut dyn Memory, space: Option<Space>) -> Result<(), Errno> {
        let left = self.left();
        if left == 0 {
            return Err(Errno::ENOSPC);
        }
        let text = memory.string(space, self.next(), left - 1).unwrap_or_default();
        self.write_text(&text);
        Ok(())
    }

    /// Takes an IP address in the program's memory; zeros where there is none.
    fn take_ip(&mut self, memory: &mut dyn Memory, kind: u8, version: u8) -> Result<(), Errno> {
        let bytes = if version == b'4' { 4 } else { 16 };
        if self.left() < bytes {
            return Err(Errno::ENOSPC);
        }
        let ip = memory.bytes(self.next(), bytes);
        let ip = ip.unwrap_or_else(|| Bytes::from_elem(0, bytes));
        let text = match (kind, version) {
            (b'I', b'4') => join(ip.chunks(1), ".", |part| part[0].to_string()),
            (_, b'4') => join(ip.chunks(1), ".", |part| format!("{:03}", part[0])),
            (b'I', _) => join(ip.chunks(2), ":", |part| format!("{:02x}{:02x}", part[0], part[1])),
            _ => join(ip.chunks(1), "", |part| format!("{:02x}", part[0])),
        };
        self.write_text(text.as_bytes());
        Ok(())
    }
}

fn join<'a>(
    parts: impl Iterator<Item = &'a [u8]>,
    separator: &str,
    text: impl Fn(&[u8]) -> String,
) -> String {
    parts.map(text).collect::<Vec<_>>().join(separator)
}

/// Whether the kernel's `ispunct` takes the byte, as far as ASCII goes.
fn is_punct(byte: u8) -> bool {
    byte.is_ascii_punctuation()
}

/// A reader of a format; past its end there are zeros.
struct Format<'a> {
    text: &'a [u8],
    at: usize,
}

impl Format<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Whether a conversion may end before the byte `ahead` from here.
    fn ends(&self, ahead: usize) -> bool {
        let next = self.peek(ahead);
        next == 0 || is_space(next) || is_punct(next)
    }

    fn field(&mut self) -> Field {
        let mut field = Field::default();
        loop {
            match self.peek(0) {
                b'0' => field.zero = true,
                b'+' => field.plus = true,
                b'-' => field.left = true,
                b' ' => field.space = true,
                _ => break,
            }
            self.at += 1;
        }
        if matches!(self.peek(0), b'1'..=b'9') {
            /// `FIELD_WIDTH_MAX`
            const MAX: usize = (1 << 23) - 1;
            let mut width = 0;
            while let digit @ b'0'..=b'9' = self.peek(0) {
                width = (width * 10 + usize::from(digit - b'0')).min(MAX);
                self.at += 1;
            }
            field.width = Some(width);
        }
        field
    }

    /// Skips what the second reading takes for a part of a pointer conversion.
    fn skip_alphanumeric(&mut self) {
        while self.peek(0).is_ascii_alphanumeric() {
            self.at += 1;
        }
    }
}

/// Prints `format` with `values` into a buffer of `size` bytes, the terminating zero among them.
///
/// # Errors
/// `EINVAL` for a byte or conversion that the kernel does not take, or without its argument;
/// `ENOSPC` if the arguments need more than 512 bytes.
pub(super) fn bprintf(
    format: &[u8],
    values: &[u64],
    size: usize,
    memory: &mut dyn Memory,
) -> Result<Printed, Errno> {
    let mut out = Printed { text: Vec::new(), bytes: 0, size };
    let mut args = Args { values, buffer: Vec::new(), at: 0 };
    let mut format = Format { text: format, at: 0 };
    while format.at < format.text.len() {
        let byte = format.peek(0);
        if byte.is_ascii() && !matches!(byte, b' '..=b'~') && !is_space(byte) {
            return Err(Errno::EINVAL);
        }
        format.at += 1;
        if byte != b'%' {
            out.put(&[byte]);
        } else if format.peek(0) == b'%' {
            format.at += 1;
            out.put(b"%");
        } else if args.values.is_empty() {
            return Err(Errno::EINVAL);
        } else {
            conversion(&mut format, &mut args, memory, &mut out)?;
        }
    }
    Ok(out)
}

fn conversion(
    format: &mut Format<'_>,
    args: &mut Args<'_>,
    memory: &mut dyn Memory,
    out: &mut Printed,
) -> Result<(), Errno> {
    let field = format.field();
    match format.peek(0) {
        b'p' => {
            format.at += 1;
            pointer(format, field, args, memory, out)
        }
        b's' if format.ends(1) => {
            format.at += 1;
            args.take_string(memory, None)?;
            field.text(out, args.read_text());
            Ok(())
        }
        b'c' => {
            format.at += 1;
            field.text(out, &[args.char()?]);
            Ok(())
        }
        _ => number(format, field, args, out),
    }
}

fn number(
    format: &mut Format<'_>,
    field: Field,
    args: &mut Args<'_>,
    out: &mut Printed,
) -> Result<(), Errno> {
    let mut bytes = 4;
    for _ in 0..2 {
        if format.peek(0) == b'l' {
            bytes = 8;
            format.at += 1;
        }
    }
    let conversion = format.peek(0);
    if !matches!(conversion, b'i' | b'd' | b'u' | b'x' | b'X') {
        return Err(Errno::EINVAL);
    }
    format.at += 1;
    let value = args.number(bytes)?;
    let unsigned = if bytes == 4 { value as u32 as u64 } else { value };
    let signed = if bytes == 4 { value as i32 as i64 } else { value as i64 };
    match conversion {
        b'i' | b'd' => {
            let sign: &[u8] = match signed < 0 {
                true => b"-",
                false if field.plus => b"+",
                false if field.space => b" ",
                false => b"",
            };
            field.number(out, sign, &signed.unsigned_abs().to_string());
        }
        b'u' => field.number(out, b"", &unsigned.to_string()),
        b'x' => field.number(out, b"", &format!("{unsigned:x}")),
        _ => field.number(out, b"", &format!("{unsigned:X}")),
    }
    Ok(())
}

/// What follows `%p`.
fn pointer(
    format: &mut Format<'_>,
    field: Field,
    args: &mut Args<'_>,
    memory: &mut dyn Memory,
    out: &mut Printed,
) -> Result<(), Errno> {
    match (format.peek(0), format.peek(1)) {
        _ if format.ends(0) => field.address(out, hashed(args.number(8)?)),
        (whose @ (b'k' | b'u'), b's') => {
            format.at += 2;
            if !format.ends(0) {
                return Err(Errno::EINVAL);
            }
            let space = if whose == b'k' { Space::Kernel } else { Space::User };
            args.take_string(memory, Some(space))?;
            args.print_text(out);
        }
        (b'K', _) => field.address(out, hashed(args.number(8)?)),
        (b'x', _) => field.address(out, args.number(8)?),
        // There are no symbols: an address is printed as the kernel prints one without a name.
        (b's' | b'S', _) => field.text(out, format!("0x{:x}", args.number(8)?).as_bytes()),
        (b'B', _) => {
            let text = format!("0x{:x}", args.next());
            args.write_text(text.as_bytes());
            args.print_text(out);
        }
        (kind @ (b'i' | b'I'), version @ (b'4' | b'6')) => {
            args.take_ip(memory, kind, version)?;
            args.print_text(out);
        }
        _ => return Err(Errno::EINVAL),
    }
    format.skip_alphanumeric();
    Ok(())
}

/// An address made unrecognisable, as the kernel prints it: 32 bits, equal for equal addresses. Null
/// and error numbers stay.
fn hashed(address: u64) -> u64 {
    const MAX_ERRNO: u64 = 4095;
    if address == 0 || address >= MAX_ERRNO.wrapping_neg() {
        return address;
    }
    address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory with one string at address 1.
    struct One<'a>(&'a [u8]);

    impl Memory for One<'_> {
        fn string(&mut self, _: Option<Space>, address: u64, max: usize) -> Option<Bytes> {
            (address == 1).then(|| self.0[..self.0.len().min(max)].into())
        }

        fn bytes(&mut self, address: u64, bytes: usize) -> Option<Bytes> {
            (address == 1).then(|| self.0.get(..bytes).map(Into::into)).flatten()
        }
    }

    fn print(format: &str, values: &[u64]) -> Result<String, Errno> {
        let mut memory = One(&[0x20, 1, 0x0d, 0xb8, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        let printed = bprintf(format.as_bytes(), values, 1024, &mut memory)?;
        assert_eq!(printed.bytes, printed.text.len());
        Ok(String::from_utf8(printed.text).unwrap())
    }

    #[test]
    fn conversions_print_as_the_kernel_prints_them() {
        let minus = (-5i64) as u64;
        for (format, values, expected) in [
            ("%d %i", &[minus, 7][..], "-5 7"),
            ("%u %x %X", &[minus, 0xab, 0xab], "4294967291 ab AB"),
            ("%ld %lld %lx", &[minus, minus, minus], "-5 -5 fffffffffffffffb"),
            ("[%5d|%-5d|%05d]", &[42, 42, minus], "[   42|42   |-0005]"),
            ("%+d % d %+ d", &[1, 2, 3], "+1  2 +3"),
            ("%c%3c|%-3c|", &[65, 66, 67], "A  B|C  |"),
            ("100%% %d%%", &[9], "100% 9%"),
            ("%px %20px|", &[0xbeef, 0xbeef], "000000000000beef                 beef|"),
            ("%p %pK", &[0, 0], "0000000000000000 0000000000000000"),
            ("%pI4 %pi4", &[1, 1], "32.1.13.184 032.001.013.184"),
            ("%pI6", &[1], "2001:0db8:0506:0708:090a:0b0c:0d0e:0f10"),
            ("%pi6.", &[1], "20010db805060708090a0b0c0d0e0f10."),
            ("%pI4 %s|", &[2, 2], "0.0.0.0 |"),
            ("%pxlost kept", &[1], "0000000000000001 kept"),
            ("äöü\n", &[], "äöü\n"),
        ] {
            assert_eq!(print(format, values).as_deref(), Ok(expected), "{format:?}");
        }
    }

    #[test]
    fn what_the_kernel_does_not_take_is_refused() {
        for format in [
            "%", "%5%", "%o", "%f", "%n", "%h", "%hd", "%lc", "%ls", "%#x", "%.3d", "%*d", "%sx",
            "%pa", "%pI", "%pI5", "%pksx", "%ll", "\x01", "%d%d%d%d", "%zu",
        ] {
            assert_eq!(print(format, &[1, 1, 1]), Err(Errno::EINVAL), "{format:?}");
        }
    }

    #[test]
    fn length_is_counted_beyond_the_buffer() {
        let printed = bprintf(b"%200d|", &[7], 11, &mut One(b"")).unwrap();
        assert_eq!((printed.text.len(), printed.bytes), (10, 201));
    }

    /// The kernel takes later arguments from the text of an address that it did not print.
    #[test]
    fn text_after_the_end_is_not_stepped_over() {
        let mut memory = One(&[0x20, 1, 0x0d, 0xb8]);
        for (size, text, bytes) in [(12, "ab32.1.13.1", 13), (3, "ab", 13), (2, "a", 2), (0, "", 2)]
        {
            let printed = bprintf(b"ab%pI4", &[1], size, &mut memory).unwrap();
            assert_eq!(
                (printed.text.as_slice(), printed.bytes),
                (text.as_bytes(), bytes),
                "{size}"
            );
        }
        let printed = bprintf(b"%pI4%u%s%c", &[1, 7, 0, 65], 0, &mut memory).unwrap();
        let four = u32::from_le_bytes(*b"32.1").to_string();
        assert_eq!(printed.bytes, four.len() + ".13.184".len() + 1);
    }

    #[test]
    fn text_that_does_not_fit_the_arguments_is_cut() {
        let long = [b'a'; 490];
        let printed = bprintf(b"%s%pI6", &[1, 2], 1024, &mut One(&long)).unwrap();
        assert_eq!(printed.bytes, 490 + 20);
        let refused = bprintf(b"%s%pI6%c", &[1, 2, 65], 1024, &mut One(&long));
        assert_eq!(refused, Err(Errno::ENOSPC));
    }
}
