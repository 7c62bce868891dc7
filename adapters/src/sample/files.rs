//! The smallest PDF and PNG that a viewer accepts, written by hand: the records need real files
//! inside them, not a library to make pretty ones.

use std::fmt::Write as _;

/// One page of text in Helvetica, one string per line; characters outside ASCII become `?`.
pub(super) fn pdf(lines: &[&str]) -> Vec<u8> {
    let mut page = "BT /F1 11 Tf 14 TL 56 736 Td\n".to_owned();
    for line in lines {
        page.push('(');
        for letter in line.chars() {
            match letter {
                '(' | ')' | '\\' => page.extend(['\\', letter]),
                ' '..='~' => page.push(letter),
                _ => page.push('?'),
            }
        }
        page.push_str(") '\n");
    }
    page.push_str("ET\n");

    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{page}endstream", page.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (object, number) in objects.iter().zip(1..) {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{:010} 00000 n ", file.len());
        let _ = write!(file, "{number} 0 obj\n{object}\nendobj\n");
    }
    let start = file.len();
    let _ = write!(
        file,
        "{table}trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n",
        objects.len() + 1
    );
    file.into_bytes()
}

/// The width and height of a photo.
pub(super) const SIDE: u8 = 32;

/// A square photo of skin with a dark mark at `(column, row)`.
pub(super) fn png((column, row): (u8, u8)) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..SIDE {
        // Each row starts with its filter: none.
        pixels.push(0);
        for x in 0..SIDE {
            let distance = u32::from(x.abs_diff(column)).pow(2) + u32::from(y.abs_diff(row)).pow(2);
            let shade = (x ^ y) & 7;
            let skin = [224 - y / 2 + shade, 172 + shade, 140 - x / 4];
            let mark = [126 + shade, 40, 44];
            pixels.extend(if distance < 40 { mark } else { skin });
        }
    }
    let side = u32::from(SIDE).to_be_bytes();
    let eight_bits_of_red_green_and_blue = [8, 2, 0, 0, 0];
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(
        &mut file,
        *b"IHDR",
        &[&side[..], &side, &eight_bits_of_red_green_and_blue].concat(),
    );
    chunk(&mut file, *b"IDAT", &stored(&pixels));
    chunk(&mut file, *b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let body = [&kind[..], data].concat();
    file.extend(length.to_be_bytes());
    file.extend(&body);
    file.extend(crc32(&body).to_be_bytes());
}

/// A zlib stream that holds `data` as it is (RFC 1950, RFC 1951 section 3.2.4).
fn stored(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let blocks = data.chunks(usize::from(u16::MAX));
    let last = blocks.len().saturating_sub(1);
    for (index, block) in blocks.enumerate() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        stream.push(u8::from(index == last));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    stream.extend(adler32(data).to_be_bytes());
    stream
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            }
        })
    })
}

fn adler32(data: &[u8]) -> u32 {
    let (low, high) = data.iter().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    high << 16 | low
}
