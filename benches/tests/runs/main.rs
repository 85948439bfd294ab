//! What is made of stored runs: their file, comparisons and pictures, by the program `report` as a person
//! calls it.

mod compare;
mod draw;
mod file;
mod joined;
mod tables;
