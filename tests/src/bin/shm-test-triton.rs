//! The embedded inference server with every test model: the child process of the Triton tests. It runs until
//! it is killed.

use clap::Parser;
use shm_triton::server::Server;
use std::io::{Error, Write};

#[derive(Debug, Parser)]
#[command(name = "shm-test-triton")]
struct Arguments {
    /// Where to speak HTTP, as HOST:PORT
    #[arg(long)]
    http: String,
    /// Where to speak gRPC, as HOST:PORT
    #[arg(long)]
    grpc: String,
    /// Refuse the shared memory of clients
    #[arg(long)]
    no_client_shared_memory: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut builder = Server::builder()
        .http(arguments.http)
        .grpc(arguments.grpc)
        .client_shared_memory(!arguments.no_client_shared_memory);
    for model in shm_zoo::all() {
        builder = builder.model(model);
    }
    let server = builder.start()?;
    let address = |address: Option<std::net::SocketAddr>| {
        address.ok_or_else(|| Error::other("the server does not say where it listens"))
    };
    println!("ready {} {}", address(server.http_addr())?, address(server.grpc_addr())?);
    std::io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}
