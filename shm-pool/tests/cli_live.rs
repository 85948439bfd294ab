//! `shm watch` and `shm top` beside real publishers, pools and terminals.

#[path = "cli_live/scene.rs"]
mod scene;
#[path = "cli_live/terminal.rs"]
mod terminal;
#[path = "cli_live/topping.rs"]
mod topping;
#[path = "cli_live/watching.rs"]
mod watching;

/// The other process of some tests: this very program, told by its environment what to do.
#[test]
fn publisher() {
    scene::publish_if_asked();
}
