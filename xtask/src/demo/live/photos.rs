//! Decoding the pictures, all to one size.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use image::imageops::FilterType;

use super::frame::CHANNELS;

/// Decodes every PNG and JPEG of a folder and crops each to one size. The result is one picture
/// after the other, RGB with 8 bits each.
pub fn decode(folder: &Path, width: usize, height: usize) -> Result<Vec<u8>> {
    let files = pictures(folder)?;
    let picture_bytes = width * height * CHANNELS;
    let mut pixels = Vec::with_capacity(files.len() * picture_bytes);
    for file in &files {
        let picture = image::open(file).with_context(|| {
            format!(
                "{} could not be decoded; remove it, or give another folder by --input",
                file.display()
            )
        })?;
        let fitted = picture.resize_to_fill(width as u32, height as u32, FilterType::CatmullRom);
        pixels.extend_from_slice(fitted.to_rgb8().as_raw());
    }
    check_neighbours(&pixels, picture_bytes)?;
    Ok(pixels)
}

/// What the pictures of a folder are called, in the order in which they are decoded.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let name = |file: &PathBuf| Some(file.file_name()?.to_string_lossy().into_owned());
    Ok(pictures(folder)?.iter().filter_map(name).collect())
}

/// A holiday's worth of pictures would only delay the start.
const AT_MOST: usize = 24;

fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| {
        format!(
            "could not list {}; give a folder with PNG or JPEG pictures by --input",
            folder.display()
        )
    })?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let extension = path.extension().map(|text| text.to_ascii_lowercase());
        if extension.is_some_and(|text| text == "png" || text == "jpg" || text == "jpeg") {
            files.push(path);
        }
    }
    files.sort();
    files.truncate(AT_MOST);
    if files.len() < 2 {
        bail!(
            "{} holds {} PNG or JPEG pictures, at least 2 are needed so that neighbouring frames \
             differ",
            folder.display(),
            files.len()
        );
    }
    Ok(files)
}

/// Two like pictures in a row would hide a torn frame: any mixture of them looks whole.
fn check_neighbours(pixels: &[u8], picture_bytes: usize) -> Result<()> {
    let pictures: Vec<&[u8]> = pixels.chunks_exact(picture_bytes).collect();
    for (index, picture) in pictures.iter().enumerate() {
        if *picture == pictures[(index + 1) % pictures.len()] {
            bail!(
                "pictures {} and {} of the folder show the same; remove one of them",
                index + 1,
                (index + 1) % pictures.len() + 1
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, Rgb, RgbImage};

    use super::*;

    // Small, because unoptimised builds decode slowly.
    const WIDTH: usize = 16;
    const HEIGHT: usize = 12;
    const BYTES: usize = WIDTH * HEIGHT * CHANNELS;

    fn write(folder: &Path, name: &str, width: u32, height: u32, colour: [u8; 3]) {
        let picture = RgbImage::from_pixel(width, height, Rgb(colour));
        DynamicImage::from(picture).save(folder.join(name)).unwrap();
    }

    #[test]
    fn pictures_of_any_size_become_frames_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "b.png", 2, 90, [0, 0, 200]);
        write(folder.path(), "a.png", 100, 3, [10, 20, 30]);
        fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
        let pixels = decode(folder.path(), WIDTH, HEIGHT).unwrap();
        assert_eq!(pixels.len(), 2 * BYTES);
        assert_eq!(pixels[..3], [10, 20, 30]);
        assert_eq!(pixels[BYTES..BYTES + 3], [0, 0, 200]);
        assert_eq!(names(folder.path()).unwrap(), ["a.png", "b.png"]);
    }

    #[test]
    fn too_few_like_or_broken_pictures_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.png", 8, 8, [1, 2, 3]);
        let error = format!("{:#}", decode(folder.path(), WIDTH, HEIGHT).unwrap_err());
        assert!(error.contains("1 PNG"), "{error}");

        write(folder.path(), "b.png", 4, 4, [1, 2, 3]);
        let error = format!("{:#}", decode(folder.path(), WIDTH, HEIGHT).unwrap_err());
        assert!(error.contains("show the same"), "{error}");

        fs::write(folder.path().join("b.png"), b"\x89PNG broken").unwrap();
        let error = format!("{:#}", decode(folder.path(), WIDTH, HEIGHT).unwrap_err());
        assert!(error.contains("b.png"), "{error}");

        let absent = folder.path().join("absent");
        assert!(format!("{:#}", decode(&absent, WIDTH, HEIGHT).unwrap_err()).contains("--input"));
    }
}
