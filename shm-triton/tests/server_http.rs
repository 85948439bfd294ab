//! The server over HTTP, as a client sees it that writes every byte by itself.

#[path = "server_http/description.rs"]
mod description;
#[path = "served/http.rs"]
mod http_client;
#[path = "server_http/limits.rs"]
mod limits;
#[path = "server_http/regions.rs"]
mod regions;
#[path = "served/mod.rs"]
mod served;
#[path = "server_http/tensors.rs"]
mod tensors;
#[path = "server_http/truncation.rs"]
mod truncation;
#[path = "server_http/validation.rs"]
mod validation;

use http_client::Client;
use shm_triton::server::Server;

fn served() -> (Server, Client) {
    let server = served::builder().http("127.0.0.1:0").start().unwrap();
    let client = Client::new(server.http_addr().unwrap());
    (server, client)
}
