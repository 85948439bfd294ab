//! The child process of the suites: does what it is told on standard input.

fn main() {
    shm_tests::serve();
}
