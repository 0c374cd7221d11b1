//! Assembles the result of a job from the results of its tasks.

use std::fs::File;
use std::io::{BufReader, BufWriter};

use fog_api::ApiError;
use fog_types::ErrorKind;

use crate::tasks::errors::TaskError;

/// Largest picture that is assembled: 64 megapixels.
const MAX_PIXELS: u64 = 64 << 20;

/// Puts PNG tiles together row by row. Missing tiles stay transparent.
///
/// # Errors
/// Fails when a tile cannot be opened, is not an 8-bit PNG or differs in size from the first.
pub(crate) fn tiles<T>(
    found: &[(u32, T)],
    open: impl Fn(&T) -> Result<File, ApiError>,
    columns: u32,
    total: u32,
) -> Result<Vec<u8>, ApiError> {
    let rows = total.div_ceil(columns.max(1));
    let Some((_, first)) = found.first() else { return Err(TaskError::NoTileYet.into()) };
    let (width, height, _) = decode(open(first)?)?;
    let (full_width, full_height) =
        (u64::from(width) * u64::from(columns), u64::from(height) * u64::from(rows));
    if full_width * full_height > MAX_PIXELS {
        return Err(TaskError::PictureTooLarge { width: full_width, height: full_height }.into());
    }
    let stride = full_width as usize * 4;
    let mut canvas = vec![0u8; stride * full_height as usize];
    for (index, tile) in found {
        let (w, h, pixels) = decode(open(tile)?)?;
        if (w, h) != (width, height) {
            return Err(TaskError::TileDiffers { index: *index, w, h, width, height }.into());
        }
        let (left, top) = ((index % columns * width) as usize * 4, (index / columns * height) as usize);
        for (line, row) in pixels.chunks_exact(width as usize * 4).enumerate() {
            let start = (top + line) * stride + left;
            if let Some(place) = canvas.get_mut(start..start + row.len()) {
                place.copy_from_slice(row);
            }
        }
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(BufWriter::new(&mut out), full_width as u32, full_height as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let failed = |e: png::EncodingError| ApiError::new(ErrorKind::NotFound, e);
    encoder.write_header().map_err(failed)?.write_image_data(&canvas).map_err(failed)?;
    Ok(out)
}

fn decode(tile: File) -> Result<(u32, u32, Vec<u8>), ApiError> {
    let mut decoder = png::Decoder::new_with_limits(BufReader::new(tile), png::Limits { bytes: 256 << 20 });
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(|e| TaskError::TileNotPng { why: e.to_string() })?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or(TaskError::TileTooLarge)?];
    let info = reader.next_frame(&mut pixels).map_err(|e| ApiError::new(ErrorKind::NotFound, e))?;
    let pixels = pixels[..info.buffer_size()].to_vec();
    let rgba = match info.color_type {
        png::ColorType::Rgba => pixels,
        png::ColorType::Rgb => pixels.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect(),
        png::ColorType::Grayscale => pixels.iter().flat_map(|p| [*p, *p, *p, 255]).collect(),
        png::ColorType::GrayscaleAlpha => {
            pixels.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect()
        }
        png::ColorType::Indexed => return Err(TaskError::TileWithPalette.into()),
    };
    Ok((info.width, info.height, rgba))
}

/// MIME type of the bytes, for displaying them.
pub(crate) fn mime_of(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        _ if std::str::from_utf8(&bytes[..bytes.len().min(4096).saturating_sub(4)]).is_ok() => "text/plain",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn open(path: &PathBuf) -> Result<File, ApiError> {
        File::open(path).map_err(|e| ApiError::new(ErrorKind::Storage, e))
    }

    fn tile(folder: &Path, name: &str, shade: u8) -> PathBuf {
        let path = folder.join(name);
        let mut encoder = png::Encoder::new(File::create(&path).unwrap(), 2, 2);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[shade; 4]).unwrap();
        path
    }

    #[test]
    fn tiles_land_in_their_places_and_missing_ones_stay_clear() {
        let folder = tempfile::tempdir().unwrap();
        let found = [(0, tile(folder.path(), "a", 10)), (3, tile(folder.path(), "d", 40))];
        let png = tiles(&found, open, 2, 4).unwrap();
        let path = folder.path().join("whole");
        std::fs::write(&path, png).unwrap();
        let (w, h, pixels) = decode(open(&path).unwrap()).unwrap();
        assert_eq!((w, h), (4, 4));
        assert_eq!(
            (&pixels[..4], &pixels[2 * 4..3 * 4], &pixels[15 * 4..]),
            (&[10, 10, 10, 255][..], &[0; 4][..], &[40, 40, 40, 255][..])
        );
    }

    #[test]
    fn what_is_not_a_tile_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "not a png").unwrap();
        assert!(tiles(&[(0, path)], open, 1, 1).is_err());
    }
}
