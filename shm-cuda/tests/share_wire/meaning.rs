//! What a frame means, as JSON: messages as the crate decodes them, values by a reader of their own.

use minicbor::Decoder;
use minicbor::data::Type;
use serde_json::{Value as Json, json};
use shm_cuda::share::wire::{HEADER_LEN, Header, Payload, Received, Reply, Request, kind};
use shm_cuda::share::{Failure, Limits, ObjectInfo, TaskInfo};

/// Of a whole frame; descriptors are not looked at.
pub fn frame(bytes: &[u8]) -> Json {
    let (header, body) = bytes.split_first_chunk::<HEADER_LEN>().unwrap();
    let header = Header::parse(header, &Limits::default()).unwrap();
    assert_eq!(header.body as usize, body.len());
    let fields = if header.kind & 0x8000 == 0 {
        request(Request::decode(&header, body, Vec::new()).unwrap())
    } else {
        reply(Reply::decode(&header, body, Vec::new()).unwrap())
    };
    json!({ "kind": kind::name(header.kind), "request": header.request, "fields": fields })
}

fn request(request: Request) -> Json {
    match request {
        Request::Hello(hello) => json!({
            "versions": [hello.versions.0, hello.versions.1], "pid": hello.pid,
            "process": hex(&hello.process), "name": hello.name,
        }),
        Request::Ping | Request::ServerInfo | Request::Endpoints => json!({}),
        Request::Call { endpoint, arguments }
        | Request::Submit { endpoint, arguments }
        | Request::InvalidateCall { endpoint, arguments } => {
            json!({ "endpoint": endpoint, "arguments": payload(&arguments) })
        }
        Request::Task(task)
        | Request::TaskResult(task)
        | Request::WaitTask(task)
        | Request::CancelTask(task) => json!({ "task": task }),
        Request::Tasks(state) => json!({ "state": state.map(|state| state.code()) }),
        Request::Release(leases) => json!({ "leases": leases }),
        Request::Acquire(object) | Request::Object(object) => json!({ "object": object }),
        Request::InvalidateEndpoint(endpoint) => json!({ "endpoint": endpoint }),
        Request::Cancel(request) => json!({ "request": request }),
    }
}

fn reply(received: Received) -> Json {
    let reply = match received {
        Received::Answer { value, lease, object } => {
            return json!({ "lease": lease, "object": object, "value": payload(&value) });
        }
        Received::Reply(reply) => reply,
    };
    match reply {
        Reply::Welcome(welcome) => json!({
            "version": welcome.version, "server": hex(&welcome.server), "pid": welcome.pid,
            "process": hex(&welcome.process), "body_limit": welcome.body_limit,
            "in_flight_limit": welcome.in_flight_limit, "opaque": welcome.opaque,
        }),
        Reply::Pong | Reply::Stopping => json!({}),
        // Plain data: its encoding is read by the reader below.
        Reply::Info(info) => {
            let limits = Limits::default();
            let encoded = shm_cuda::share::wire::encode_value(&info, &limits).unwrap();
            json!({ "info": encoded_value(&encoded.body)["value"] })
        }
        Reply::Answer(_) => unreachable!("decoded above"),
        Reply::Submitted(task) => json!({ "task": task }),
        Reply::Task(info) => task(&info),
        Reply::Tasks(infos) => json!({ "tasks": infos.iter().map(task).collect::<Vec<_>>() }),
        Reply::Cancelled(cancelled) => json!({ "cancelled": cancelled }),
        Reply::Released(released) => json!({ "released": released }),
        Reply::Object(info) => json!({ "object": info.as_ref().map(object) }),
        Reply::Invalidated(count) => json!({ "count": count }),
        Reply::Failed(reason) => failure(&reason),
    }
}

fn failure(failure: &Failure) -> Json {
    json!({
        "code": failure.kind.code(), "message": failure.message,
        "error_type": failure.error_type, "details": failure.details,
    })
}

fn task(info: &TaskInfo) -> Json {
    json!({
        "task": info.task, "endpoint": info.endpoint, "state": info.state.code(),
        "created": info.created, "started": info.started, "completed": info.completed,
        "failure": info.failure.as_ref().map(failure), "object": info.object,
    })
}

fn object(info: &ObjectInfo) -> Json {
    json!({
        "object": info.object, "endpoint": info.endpoint, "key": info.key,
        "leases": info.leases, "bytes": info.bytes, "created": info.created,
        "accessed": info.accessed, "survives": info.survives,
    })
}

fn payload(payload: &Payload) -> Json {
    encoded_value(&payload.body)
}

fn encoded_value(body: &[u8]) -> Json {
    let mut decoder = Decoder::new(body);
    assert_eq!(decoder.array().unwrap(), Some(2));
    let storages = decoder.array().unwrap().unwrap();
    let storages: Vec<_> = (0..storages).map(|_| storage(&mut decoder)).collect();
    let value = value(&mut decoder);
    assert_eq!(decoder.position(), body.len());
    json!({ "storages": storages, "value": value })
}

fn storage(decoder: &mut Decoder<'_>) -> Json {
    decoder.array().unwrap();
    match decoder.u8().unwrap() {
        0 => json!({ "host": decoder.u64().unwrap() }),
        1 => {
            let device = hex(decoder.bytes().unwrap());
            json!({ "vmm": decoder.u64().unwrap(), "device": device })
        }
        2 => json!({ "legacy": hex(decoder.bytes().unwrap()) }),
        other => panic!("no storage is of kind {other}"),
    }
}

/// Arguments are a list of a list and a map here.
fn value(decoder: &mut Decoder<'_>) -> Json {
    let items = |decoder: &mut Decoder<'_>| {
        let count = decoder.array().unwrap().unwrap();
        (0..count).map(|_| value(decoder)).collect::<Vec<_>>()
    };
    match decoder.datatype().unwrap() {
        Type::Null => {
            decoder.null().unwrap();
            Json::Null
        }
        Type::Bool => json!(decoder.bool().unwrap()),
        Type::F64 => {
            let float = decoder.f64().unwrap();
            json!({ "float": float.to_string(), "bits": format!("{:016x}", float.to_bits()) })
        }
        Type::String => json!(decoder.str().unwrap()),
        Type::Bytes => json!({ "bytes": hex(decoder.bytes().unwrap()) }),
        Type::Array => json!(items(decoder)),
        Type::Map => json!({ "map": entries(decoder) }),
        Type::Tag => match decoder.tag().unwrap().as_u64() {
            40_000 => json!({ "tuple": items(decoder) }),
            40_001 => json!({ "tensor": tensor(decoder) }),
            40_002 => {
                decoder.array().unwrap();
                let kind = decoder.str().unwrap();
                let structure = value(decoder);
                json!({ "bundle": kind, "structure": structure, "tensors": entries(decoder) })
            }
            40_003 => {
                decoder.array().unwrap();
                let encoding = decoder.str().unwrap();
                json!({ "opaque": encoding, "bytes": hex(decoder.bytes().unwrap()) })
            }
            other => panic!("{other} is no tag of the protocol"),
        },
        _ => {
            let int = i128::from(decoder.int().unwrap());
            match (i64::try_from(int), u64::try_from(int)) {
                (Ok(int), _) => json!(int),
                (_, Ok(int)) => json!(int),
                _ => json!({ "int": int.to_string() }),
            }
        }
    }
}

fn entries(decoder: &mut Decoder<'_>) -> Vec<Json> {
    let count = decoder.map().unwrap().unwrap();
    let entry = |decoder: &mut Decoder<'_>| {
        let name = decoder.str().unwrap();
        json!([name, value(decoder)])
    };
    (0..count).map(|_| entry(decoder)).collect()
}

fn tensor(decoder: &mut Decoder<'_>) -> Json {
    assert_eq!(decoder.array().unwrap(), Some(5));
    let storage = decoder.u64().unwrap();
    let dtype = decoder.str().unwrap();
    let shape = value(decoder);
    let strides = value(decoder);
    let offset = decoder.u64().unwrap();
    json!({
        "storage": storage, "dtype": dtype, "shape": shape, "strides": strides, "offset": offset,
    })
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
