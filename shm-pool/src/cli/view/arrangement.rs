//! Which tensors are pictures, and where in them a channel of a pixel lies.

use crate::cli::exit::{Exit, Failure};
use crate::cli::subject::dimensions;

/// How the elements of a frame make a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrangement {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// 1, 3 or 4.
    pub(crate) channels: usize,
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The channels of a pixel lie side by side.
    Interleaved,
    /// One plane per channel.
    Planar,
}

impl Arrangement {
    /// The picture in a frame of that shape: HxW, HxWxC or CxHxW, behind any dimensions of 1. Where both
    /// HxWxC and CxHxW are possible, it is HxWxC.
    pub(crate) fn of(name: &str, shape: &[usize]) -> Result<Arrangement, Failure> {
        let mut kept = shape;
        while kept.len() > 3 && kept[0] == 1 {
            kept = &kept[1..];
        }
        let is_channels = |count: usize| matches!(count, 1 | 3 | 4);
        match *kept {
            [height, width] => {
                Ok(Arrangement { width, height, channels: 1, order: Order::Interleaved })
            }
            [height, width, channels] if is_channels(channels) => {
                Ok(Arrangement { width, height, channels, order: Order::Interleaved })
            }
            [channels, height, width] if is_channels(channels) => {
                Ok(Arrangement { width, height, channels, order: Order::Planar })
            }
            _ => Err(Failure::new(
                Exit::Refused,
                format!(
                    "frames of stream '{name}' have shape {}, which is no picture; pictures are HxW, \
                     HxWx1, HxWx3, HxWx4, 1xHxW, 3xHxW or 4xHxW, behind any dimensions of 1",
                    dimensions(shape)
                ),
                "`shm stat` shows what it carries, `shm record` keeps frames of any shape",
            )),
        }
    }

    /// How many pixels there are.
    pub(crate) fn pixels(&self) -> usize {
        self.width * self.height
    }

    /// Index of the element that is `channel` of `pixel`, pixels counted row by row.
    pub(crate) fn index(&self, pixel: usize, channel: usize) -> usize {
        match self.order {
            Order::Interleaved => pixel * self.channels + channel,
            Order::Planar => channel * self.pixels() + pixel,
        }
    }

    /// True if the elements already lie as those of a picture do.
    pub(crate) fn is_interleaved(&self) -> bool {
        self.order == Order::Interleaved || self.channels == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shape: &[usize]) -> (usize, usize, usize, bool) {
        let found = Arrangement::of("x", shape).unwrap();
        (found.height, found.width, found.channels, found.is_interleaved())
    }

    #[test]
    fn pictures_are_found_in_shapes() {
        assert_eq!(of(&[480, 640]), (480, 640, 1, true));
        assert_eq!(of(&[480, 640, 3]), (480, 640, 3, true));
        assert_eq!(of(&[480, 640, 4]), (480, 640, 4, true));
        assert_eq!(of(&[3, 480, 640]), (480, 640, 3, false));
        assert_eq!(of(&[1, 480, 640]), (480, 640, 1, true));
        assert_eq!(of(&[1, 1, 4, 480, 640]), (480, 640, 4, false));
        assert_eq!(of(&[1, 480, 640, 3]), (480, 640, 3, true));
        assert_eq!(of(&[3, 640, 4]), (3, 640, 4, true), "where both fit, channels come last");
    }

    #[test]
    fn other_shapes_are_refused_with_what_is_possible() {
        for shape in [&[][..], &[7], &[480, 640, 2], &[2, 480, 640, 3], &[1, 1, 1, 2, 5, 6, 7]] {
            let failure = Arrangement::of("lidar", shape).unwrap_err();
            assert_eq!(failure.exit, Exit::Refused);
            let text = failure.to_string();
            assert!(text.contains(&dimensions(shape)) && text.contains("3xHxW"), "{text}");
        }
    }

    #[test]
    fn planes_are_apart() {
        let planar = Arrangement::of("x", &[3, 2, 5]).unwrap();
        assert_eq!((planar.index(0, 0), planar.index(0, 2), planar.index(9, 1)), (0, 20, 19));
    }
}
