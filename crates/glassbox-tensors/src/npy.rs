//! The header of a NumPy array (`.npy` versions 1 to 3).
//!
//! Magic `\x93NUMPY`, two bytes of version, the header's length in two bytes (version 1) or four, then a Python dict:
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.

use crate::element_type::ElementType;

pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header that is read, its beginning included: plain arrays need about a hundred bytes.
pub(crate) const LONGEST_HEADER: usize = 1 << 16;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NpyHeader {
    pub(crate) element_type: ElementType,
    pub(crate) big_endian: bool,
    pub(crate) fortran_order: bool,
    pub(crate) shape: Vec<usize>,
    /// Where the elements begin.
    pub(crate) data_start: usize,
}

impl NpyHeader {
    /// Reads a header from the beginning of an array file.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err("it does not begin as a NumPy array does (\\x93NUMPY)".into());
        };
        let cut = || "it ends within its header".to_owned();
        let (major, after) = match rest {
            [major, _, after @ ..] => (*major, after),
            _ => return Err(cut()),
        };
        let (length, prefix) = match major {
            1 => {
                let length = after.first_chunk::<2>().ok_or_else(cut)?;
                (usize::from(u16::from_le_bytes(*length)), 10)
            }
            2 | 3 => {
                let length = after.first_chunk::<4>().ok_or_else(cut)?;
                (u32::from_le_bytes(*length) as usize, 12)
            }
            other => return Err(format!("version {other} of the array format; 1 to 3 are read")),
        };
        if length > LONGEST_HEADER - prefix {
            return Err(format!(
                "its header states {length} bytes; {LONGEST_HEADER} are read (a structured array?)"
            ));
        }
        let text = bytes.get(prefix..prefix + length).ok_or_else(cut)?;
        let text = std::str::from_utf8(text).map_err(|_| "its header is not text".to_owned())?;
        Self::parse(text, prefix + length).map_err(|what| format!("its header: {what}"))
    }

    fn parse(text: &str, data_start: usize) -> Result<Self, String> {
        let mut parser = Literal { rest: text };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        parser.expect("{")?;
        while !parser.accept("}") {
            let key = parser.text()?;
            parser.expect(":")?;
            match key {
                "descr" => {
                    descr = Some(parser.text().map_err(|_| {
                        "`descr` is not a plain type; structured arrays are not read".to_owned()
                    })?)
                }
                "fortran_order" => fortran_order = Some(parser.flag()?),
                "shape" => shape = Some(parser.tuple()?),
                other => return Err(format!("unknown key `{other}`")),
            }
            if !parser.accept(",") {
                parser.expect("}")?;
                break;
            }
        }
        if !parser.rest.trim().is_empty() {
            return Err("text follows the dict".into());
        }
        let descr = descr.ok_or("`descr` is missing")?;
        let (element_type, big_endian) = element_type(descr)?;
        Ok(Self {
            element_type,
            big_endian,
            fortran_order: fortran_order.ok_or("`fortran_order` is missing")?,
            shape: shape.ok_or("`shape` is missing")?,
            data_start,
        })
    }
}

/// A NumPy type code, and whether it is big endian.
pub(crate) fn element_type(descr: &str) -> Result<(ElementType, bool), String> {
    let (big_endian, code) = match descr.strip_prefix('>') {
        Some(code) => (true, code),
        None => (false, descr.trim_start_matches(['<', '|', '='])),
    };
    let element_type = match code {
        "f8" => ElementType::F64,
        "f4" => ElementType::F32,
        "f2" => ElementType::F16,
        "i8" => ElementType::I64,
        "i4" => ElementType::I32,
        "i2" => ElementType::I16,
        "i1" => ElementType::I8,
        "u8" => ElementType::U64,
        "u4" => ElementType::U32,
        "u2" => ElementType::U16,
        "u1" => ElementType::U8,
        "b1" => ElementType::Bool,
        _ => {
            return Err(format!(
                "type `{}`; f2, f4, f8, i1 to i8, u1 to u8 and b1 are read",
                descr.chars().take(40).collect::<String>()
            ));
        }
    };
    Ok((element_type, big_endian))
}

/// The few Python literals of a header.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn accept(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.accept(token) {
            return Ok(());
        }
        let found: String = self.rest.trim_start().chars().take(20).collect();
        Err(format!("expected `{token}`, found `{found}`"))
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let quote = if self.accept("'") {
            '\''
        } else {
            self.expect("\"")?;
            '"'
        };
        let (text, rest) = self.rest.split_once(quote).ok_or("a string does not end")?;
        self.rest = rest;
        Ok(text)
    }

    fn flag(&mut self) -> Result<bool, String> {
        if self.accept("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.expect("(")?;
        let mut lengths = Vec::new();
        while !self.accept(")") {
            self.rest = self.rest.trim_start();
            let end = self
                .rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(self.rest.len());
            let (digits, rest) = self.rest.split_at(end);
            let length = digits
                .parse()
                .map_err(|_| format!("a length of the shape is `{digits}`"))?;
            lengths.push(length);
            // Python 2 wrote long integers so.
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            if !self.accept(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(lengths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(version: u8, text: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        if version == 1 {
            bytes.extend((text.len() as u16).to_le_bytes());
        } else {
            bytes.extend((text.len() as u32).to_le_bytes());
        }
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn headers_of_every_version_are_read() {
        for version in 1..=3 {
            let bytes = array(
                version,
                "{'descr': '>f8', 'fortran_order': True, 'shape': (3, 40L), }   \n",
            );
            let header = NpyHeader::read(&bytes).unwrap();
            assert_eq!(header.shape, [3, 40]);
            assert!(header.big_endian && header.fortran_order);
            assert_eq!(header.element_type, ElementType::F64);
            assert_eq!(header.data_start, bytes.len());
        }
        let scalar = array(1, "{'shape': (), 'descr': '|b1', 'fortran_order': False}");
        assert_eq!(NpyHeader::read(&scalar).unwrap().shape, [0_usize; 0]);
        let vector = array(1, "{'shape': (7,), 'descr': '<i8', 'fortran_order': False}");
        assert_eq!(NpyHeader::read(&vector).unwrap().shape, [7]);
    }

    #[test]
    fn headers_of_anything_else_are_refused() {
        for text in [
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}",
            "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3}",
            "{'descr': '<f4', 'fortran_order': 1, 'shape': (3,)}",
            "{'descr': '<f4', 'shape': (3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)} x",
            "{'descr",
            "",
        ] {
            let whole = array(1, text);
            assert!(NpyHeader::read(&whole).is_err(), "{text}");
        }
        assert!(NpyHeader::read(&array(9, "{}")).is_err());
    }
}
