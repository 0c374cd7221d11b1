//! A path tracer (Kajiya 1986) that renders one tile of a fixed scene to `tile.png`.

mod scene;
mod vector;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use scene::{Random, radiance};
use vector::Vector;

struct Options {
    tile: u32,
    columns: u32,
    rows: u32,
    size: u32,
    samples: u32,
}

fn main() -> ExitCode {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let &[tile, columns, rows, size, samples] = numbers.as_slice() else {
        eprintln!("usage: path-tracer TILE COLUMNS ROWS TILE_SIZE SAMPLES");
        return ExitCode::from(2);
    };
    let options = Options { tile, columns, rows, size, samples };
    if columns == 0 || rows == 0 || tile >= columns * rows || !(1..=4096).contains(&size) || samples == 0 {
        eprintln!("the tile must lie in the picture and its size between 1 and 4096");
        return ExitCode::from(2);
    }
    match render(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn render(o: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let (width, height) = (o.columns * o.size, o.rows * o.size);
    let (left, top) = (o.tile % o.columns * o.size, o.tile / o.columns * o.size);
    let mut progress = File::create("/dev/progress").ok();
    let mut pixels = Vec::with_capacity((o.size * o.size * 3) as usize);
    for y in top..top + o.size {
        for x in left..left + o.size {
            let mut random = Random::new(u64::from(y) * u64::from(width) + u64::from(x));
            let mut sum = Vector::ZERO;
            for _ in 0..o.samples {
                let u = (f64::from(x) + random.next() - f64::from(width) / 2.0) / f64::from(height);
                let v = (f64::from(height) / 2.0 - f64::from(y) - random.next()) / f64::from(height);
                sum = sum + radiance(u, v, &mut random);
            }
            let mean = sum * (1.0 / f64::from(o.samples));
            pixels.extend(
                [mean.x, mean.y, mean.z].map(|c| (c.clamp(0.0, 1.0).powf(1.0 / 2.2) * 255.0 + 0.5) as u8),
            );
        }
        if let Some(file) = &mut progress {
            let _ = writeln!(file, "{:.1}", 100.0 * f64::from(y - top + 1) / f64::from(o.size));
        }
    }
    let mut encoder = png::Encoder::new(BufWriter::new(File::create("tile.png")?), o.size, o.size);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(())
}
