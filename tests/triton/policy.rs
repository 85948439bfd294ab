//! Servers that take no shared memory from clients, and clients that use none.

use crate::call::{call, call_async};
use shm_tests::Watchdog;
use shm_tests::triton::{EmbeddedOptions, EmbeddedServer, Place};
use shm_triton::{
    ClientConfig, DataType, Inputs, ModelConfig, Options, RegionError, RegisterError, SharedMemory,
};
use std::time::Duration;

everywhere!(without_shared_memory_everything_still_works);

fn refusing_server() -> EmbeddedServer {
    EmbeddedServer::start(EmbeddedOptions { client_shared_memory: false }).unwrap()
}

#[test]
fn a_server_that_refuses_is_one_clear_error() {
    let _watchdog = Watchdog::new("refusing", Duration::from_secs(60));
    let server = refusing_server();
    for url in [format!("http://{}", server.http_addr), format!("grpc://{}", server.grpc_addr)] {
        let client = ClientConfig::new(&url).sweep(false).connect().unwrap();
        for _ in 0..2 {
            let error = client.register_model(ModelConfig::new("identity")).unwrap_err();
            assert!(
                matches!(error, RegisterError::Region(RegionError::Disabled { .. })),
                "{error}"
            );
            assert!(error.to_string().contains("SharedMemory::Preferred"), "{error}");
        }
        assert_eq!(client.models().len(), 0);
    }
}

#[test]
fn or_tensors_go_in_the_message_and_are_counted() {
    let _watchdog = Watchdog::new("preferring", Duration::from_secs(60));
    let server = refusing_server();
    for url in [format!("http://{}", server.http_addr), format!("grpc://{}", server.grpc_addr)] {
        let config = ClientConfig::new(&url).sweep(false).shared_memory(SharedMemory::Preferred);
        let client = config.connect().unwrap();
        let model = client.register_model(ModelConfig::new("identity").slots(2)).unwrap();
        assert_eq!(client.stats().inline_calls, 0);
        call(&model, 8, &Options::new()).unwrap();
        assert_eq!(client.stats().inline_calls, 1);
        call(&model, 20, &Options::new()).unwrap();
        futures::executor::block_on(call_async(&model, 3, &Options::new())).unwrap();
        assert_eq!(client.stats().inline_calls, 5);
        let mut slot = model.slot(Duration::from_secs(20)).unwrap();
        slot.input::<f32>("INPUT0", &[1, 16]).unwrap().fill(3.0);
        let outputs = slot.run(&Options::new()).unwrap();
        assert_eq!(outputs.get::<f32>("OUTPUT0").unwrap(), [3.0; 16]);
        assert!(!outputs.is_shared("OUTPUT0").unwrap());
    }
}

fn without_shared_memory_everything_still_works(place: &Place) {
    let client = place.config().shared_memory(SharedMemory::Never).connect().unwrap();
    let model = client.register_model(ModelConfig::new("any").slots(2)).unwrap();
    // Longer than the slots begin with.
    let data: Vec<i8> = (0..200_000).map(|at| (at % 127) as i8).collect();
    for count in [0, 1, 70_000, 200_000] {
        let inputs = Inputs::new().tensor("INPUT0", &[count], &data[..count as usize]).unwrap();
        let outputs = model.infer(&inputs, &Options::new()).unwrap();
        assert_eq!(outputs.get::<i8>("OUTPUT0").unwrap(), &data[..count as usize]);
    }
    let bytes = client.register_model(ModelConfig::new("bytes")).unwrap();
    let items = [b"a\0".to_vec(), Vec::new(), vec![0xFF; 100_000]];
    let inputs = Inputs::new().items("INPUT0", &[1, 3], &items).unwrap();
    let outputs = bytes.infer(&inputs, &Options::new()).unwrap();
    assert_eq!(outputs.items("OUTPUT0").unwrap(), items);
    let half = client.register_model(ModelConfig::new("half")).unwrap();
    assert_eq!(half.spec().inputs[1].datatype, DataType::Bf16);
    let dynamic = client.register_model(ModelConfig::new("dynamic")).unwrap();
    let inputs = Inputs::new().tensor("INPUT0", &[1], &[50_000_i32]).unwrap();
    let outputs = dynamic.infer(&inputs, &Options::new()).unwrap();
    assert_eq!(outputs.get::<f32>("OUTPUT0").unwrap().len(), 50_000);
    assert!(client.stats().inline_calls >= 5);
}
